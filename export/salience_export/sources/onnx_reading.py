"""Reading an ONNX file: its weights inside or beside it, never from elsewhere."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, external_data_helper

from salience_export.errors import ExportError

_LARGEST = 2**31 - 1
"""Bytes that a protobuf message may have; larger models cannot be run from memory."""


@dataclass(frozen=True)
class OnnxFile:
    """The model as it lies in the file, weights inside, and the SHA-256 of what was read."""

    model: onnx.ModelProto
    digest: str


def read_onnx(path: Path) -> OnnxFile:
    """The file and its external weights, which must lie in its directory.

    Raises:
        ExportError: it cannot be read, is no ONNX file or too large, or a weight lies elsewhere.
    """
    digest = hashlib.sha256()
    try:
        content = path.read_bytes()
        digest.update(content)
        model = onnx.load_model_from_string(content)
    except OSError as error:
        raise ExportError(f"{path.name} cannot be read") from error
    except Exception as error:  # protobuf's errors share no public base but Exception
        raise ExportError(f"{path.name} is no ONNX file") from error
    if not content:
        raise ExportError(f"{path.name} is empty")
    try:
        places = sorted(_places(model))
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        for place in places:
            digest.update((path.parent / place).read_bytes())
    except Exception as error:  # onnx's checker, OSError and ValueError
        raise ExportError(
            f"external weights of {path.name} are missing, damaged or outside its directory"
        ) from error
    if model.ByteSize() > _LARGEST:
        raise ExportError(f"{path.name} holds more than 2 GiB; larger models are not exported")
    return OnnxFile(model, digest.hexdigest())


def _places(model: onnx.ModelProto) -> set[str]:
    """Locations of external weights, as the file states them."""
    return {
        entry.value
        for tensor in external_data_helper._get_all_tensors(model)  # Also within nodes.
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
