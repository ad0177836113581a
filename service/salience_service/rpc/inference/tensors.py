"""The tensors of the Open Inference Protocol as models of this service have them.

A model has two inputs, of which a request sends one: `images`, as the model itself takes them,
or `pixels`, still to be resized and normalised by the model's own rule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience.inference import grpc_service_pb2 as pb
from salience_service.bundle.manifest import InputContract
from salience_service.errors import InvalidRequest
from salience_service.rpc.wire.wording import MAX_NAME

_SLICE = 8192
"""Typed elements that are read at a time."""
ANY = -1
"""A size that a model does not fix, as the protocol writes it."""


@dataclass(frozen=True)
class Input:
    """An input that every model has.

    Attributes:
        name: of it. datatype: the protocol's name of the type of its elements.
        kind: the same for NumPy. contents: the field of typed contents that holds such elements.
        axes: of its shape.
    """

    name: str
    datatype: str
    kind: np.dtype[Any]
    contents: str
    axes: str

    def shape_for(self, contract: InputContract) -> list[int]:
        """As a model takes it."""
        if self is PIXELS:  # Of whose channels 1 and 3 are taken: for that there is no other word.
            return [ANY, ANY, ANY, ANY]
        return [ANY, contract.channels, contract.height, contract.width]


IMAGES = Input("images", "FP32", np.dtype("<f4"), "fp32_contents", "NCHW")
PIXELS = Input("pixels", "UINT8", np.dtype("u1"), "uint_contents", "NHWC")
INPUTS: Mapping[str, Input] = {each.name: each for each in (IMAGES, PIXELS)}
OFFERED = "; ".join(f"{each.name!r} ({each.datatype}, {each.axes})" for each in (IMAGES, PIXELS))


def input_of(tensor: pb.ModelInferRequest.InferInputTensor) -> Input:
    """Which input a tensor is for.

    Raises:
        InvalidRequest: none; or its elements are of another type.
    """
    found = INPUTS.get(tensor.name)
    if found is None:
        raise InvalidRequest(
            f"no input {tensor.name[:MAX_NAME]!r}: send one of {OFFERED}", field="name"
        )
    if tensor.datatype != found.datatype:
        raise InvalidRequest(
            f"datatype {tensor.datatype[:MAX_NAME]!r}: {found.name} are {found.datatype}",
            field="datatype",
        )
    return found


def shape_of(tensor: pb.ModelInferRequest.InferInputTensor, kind: Input) -> tuple[int, ...]:
    """The tensor's shape, of as many sizes as its input has axes, each at least 1.

    Raises:
        InvalidRequest: another number of sizes, or one below 1.
    """
    if len(tensor.shape) != len(kind.axes):
        raise InvalidRequest(
            f"the shape has {len(tensor.shape)} sizes: {kind.name} have {len(kind.axes)}, "
            f"{kind.axes}",
            field="shape",
        )
    if min(tensor.shape) < 1:
        raise InvalidRequest(f"the shape {list(tensor.shape)} has a size below 1", field="shape")
    return tuple(tensor.shape)


def from_raw(data: bytes, shape: Sequence[int], kind: Input) -> NDArray[Any]:
    """The elements of raw contents, in their shape; they are not copied.

    Raises:
        InvalidRequest: too few bytes for the shape, or too many.
    """
    needed = math.prod(shape) * kind.kind.itemsize  # Python's own integers: no shape overflows.
    if len(data) != needed:
        raise InvalidRequest(
            f"shape {list(shape)} of {kind.datatype} needs {needed} bytes, there are {len(data)}",
            field="raw_input_contents[0]",
        )
    return np.frombuffer(data, kind.kind).reshape(tuple(shape))


def from_typed(contents: pb.InferTensorContents, shape: Sequence[int], kind: Input) -> NDArray[Any]:
    """The elements of typed contents, in their shape.

    Raises:
        InvalidRequest: elements of other types, too few, too many, or out of range.
    """
    others = [field.name for field, _ in contents.ListFields() if field.name != kind.contents]
    if others:
        raise InvalidRequest(
            f"elements in {', '.join(others)}: those of {kind.datatype} go into {kind.contents}"
        )
    elements, needed = getattr(contents, kind.contents), math.prod(shape)
    if len(elements) != needed:
        raise InvalidRequest(
            f"shape {list(shape)} needs {needed} elements, {kind.contents} has {len(elements)}",
            field=kind.contents,
        )
    values = np.empty(needed, kind.kind)
    # By the slice: one sweep of millions would hold up every other thread of the process.
    for start in range(0, needed, _SLICE):
        part = elements[start : start + _SLICE]
        if kind is PIXELS and (greatest := max(part)) > np.iinfo(kind.kind).max:
            raise InvalidRequest(f"{greatest} is no {kind.datatype}", field=kind.contents)
        values[start : start + _SLICE] = part
    return values.reshape(tuple(shape))
