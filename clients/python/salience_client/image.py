"""The picture to explain, in each form in which a caller may hold it, as the wire's Image."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience.v1.image_pb2 import DataType, Image, Tensor, TensorMeaning
from salience_client.errors import InvalidRequest

_DATA_TYPES = {
    "uint8": DataType.DATA_TYPE_UINT8,
    "uint16": DataType.DATA_TYPE_UINT16,
    "float16": DataType.DATA_TYPE_FLOAT16,
    "float32": DataType.DATA_TYPE_FLOAT32,
}
_PIXEL_AXES = {2: "HW", 3: "HWC"}
_MODEL_AXES = {3: "CHW", 4: "NCHW"}


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels of any size, before the model's resize, crop and normalisation.

    Attributes:
        array: uint8, uint16, float16 or float32; [H, W] or [H, W, C] unless `axes` says
            otherwise; three channels are red, green, blue.
        full_scale: the value that means full intensity; 0 = 255 for uint8, 65535 for
            uint16, 1 for floating point.
        axes: one letter an axis, such as "CHW"; "" = by the number of axes.
    """

    array: NDArray[Any]
    full_scale: float = 0.0
    axes: str = ""


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """The model's own input: float32 [C, H, W] or [1, C, H, W], already normalised."""

    array: NDArray[np.float32]


@dataclass(frozen=True)
class Dicom:
    """A DICOM file. Answered with `Unsupported` until the server decodes DICOM."""

    data: bytes


ImageLike = bytes | str | os.PathLike[str] | NDArray[Any] | Pixels | Preprocessed | Dicom
"""A whole file (its bytes or its path), pixels, the model's own input, or a DICOM file."""


def image_message(image: ImageLike) -> Image:
    """The wire's Image.

    Raises:
        InvalidRequest: a form, type or shape that cannot be said.
        OSError: the path cannot be read.
    """
    match image:
        case bytes():
            return Image(encoded=image)
        case str() | os.PathLike():
            return Image(encoded=Path(image).read_bytes())
        case Dicom():
            return Image(dicom=image.data)
        case Pixels():
            return Image(tensor=_pixels(image))
        case Preprocessed():
            return Image(tensor=_preprocessed(image.array))
        case np.ndarray():
            return Image(tensor=_pixels(Pixels(image)))
    raise InvalidRequest(
        f"an image cannot be a {type(image).__name__}: give bytes, a path or a NumPy array"
    )


def _pixels(pixels: Pixels) -> Tensor:
    axes = pixels.axes or _PIXEL_AXES.get(pixels.array.ndim)
    if axes is None:
        raise InvalidRequest(
            f"pixels have {pixels.array.ndim} axes: give [H, W] or [H, W, C], or state `axes`"
        )
    tensor = _tensor(pixels.array, axes, TensorMeaning.TENSOR_MEANING_PIXELS)
    tensor.full_scale = pixels.full_scale
    return tensor


def _preprocessed(array: NDArray[np.float32]) -> Tensor:
    axes = _MODEL_AXES.get(array.ndim)
    if axes is None:
        raise InvalidRequest(
            f"a model's input has {array.ndim} axes: give [C, H, W] or [1, C, H, W]"
        )
    return _tensor(array, axes, TensorMeaning.TENSOR_MEANING_PREPROCESSED)


def _tensor(array: NDArray[Any], axes: str, meaning: TensorMeaning) -> Tensor:
    """The array's elements as they are, little-endian and in C order."""
    data_type = _DATA_TYPES.get(array.dtype.name)
    if data_type is None:
        raise InvalidRequest(
            f"an array of {array.dtype} cannot be sent: convert it to {', '.join(_DATA_TYPES)}"
        )
    return Tensor(
        meaning=meaning,
        data_type=data_type,
        axes=axes,
        shape=array.shape,
        data=np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(),
    )
