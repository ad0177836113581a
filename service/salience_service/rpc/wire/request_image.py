"""Images and fills of a request: messages to values, everything unstated or odd refused."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience.v1 import image_pb2 as pb
from salience_service.errors import InvalidRequest, Unsupported
from salience_service.field_path import at, read
from salience_service.request import (
    BlackFill,
    BlurFill,
    ColourFill,
    DicomImage,
    EncodedImage,
    Fill,
    ImageInput,
    MeanFill,
    PixelImage,
    PreparedImage,
)
from salience_service.rpc.wire.wording import at_most, unlisted

_DATA_TYPES: Mapping[int, np.dtype[Any]] = {
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
}
_FULL_SCALES: Mapping[int, float] = {
    pb.DATA_TYPE_UINT8: 255.0,
    pb.DATA_TYPE_UINT16: 65535.0,
    pb.DATA_TYPE_FLOAT16: 1.0,
    pb.DATA_TYPE_FLOAT32: 1.0,
}
_MEANINGS = ("PIXELS", "PREPROCESSED")
_AXES = ("HW", "HWC", "CHW", "NCHW")
_MOST_CHANNELS = 3


def image_of(message: pb.Image) -> ImageInput:
    """The image of a request.

    Raises:
        InvalidRequest: no image, an empty one, or a tensor that contradicts itself.
        Unsupported: a volume.
    """
    form = message.WhichOneof("form")
    if form is None:
        raise InvalidRequest("no image: state encoded bytes, a tensor or DICOM bytes")
    if form == "tensor":
        return read("tensor", _tensor_image, message.tensor)
    data = message.encoded if form == "encoded" else message.dicom
    if not data:
        raise InvalidRequest("the image has 0 bytes: send a whole image file", field=form)
    return EncodedImage(data) if form == "encoded" else DicomImage(data)


def fill_of(message: pb.Fill) -> Fill:
    """The fill of a message; none set means mean.

    Raises:
        InvalidRequest: a colour of more intensities than any image has channels.
    """
    kind = message.WhichOneof("kind")
    if kind == "black":
        return BlackFill()
    if kind == "blur":
        blur = message.blur
        return BlurFill(blur.kernel or BlurFill.kernel, blur.sigma or BlurFill.sigma)
    if kind == "colour":
        colour = message.colour.intensity
        return ColourFill(read("colour", at_most, colour, _MOST_CHANNELS, "intensity"))
    return MeanFill()


def _tensor_image(tensor: pb.Tensor) -> PixelImage | PreparedImage:
    _check_axes(tensor.axes, tensor.shape)
    with at("shape"):
        _check_sizes(tensor.axes, tensor.shape)
    if tensor.meaning == pb.TENSOR_MEANING_PIXELS:
        return PixelImage(_channels_last(_numbers(tensor), tensor.axes), _full_scale(tensor))
    if tensor.meaning == pb.TENSOR_MEANING_PREPROCESSED:
        return PreparedImage(_prepared(tensor))
    raise unlisted("the tensor's meaning", tensor.meaning, _MEANINGS, "meaning")


def _check_axes(axes: str, shape: Any) -> None:
    if "D" in axes or len(shape) > 4:
        raise Unsupported(
            f"axes {axes[:16]!r} with {len(shape)} sizes are a 3-D volume or more: this service "
            "explains two-dimensional classifiers, send one slice",
            field="axes",
        )
    if axes not in _AXES:
        raise InvalidRequest(f"axes {axes[:16]!r} are none of {', '.join(_AXES)}", field="axes")


def _check_sizes(axes: str, shape: Any) -> None:
    if len(shape) != len(axes):
        raise InvalidRequest(f"axes {axes} need {len(axes)} sizes, shape has {len(shape)}")
    sizes = dict(zip(axes, shape, strict=True))
    if min(shape) < 1:
        raise InvalidRequest(f"shape {list(shape)} has a size below 1")
    if sizes.get("N", 1) != 1:
        raise InvalidRequest(f"N is {sizes['N']}: send one image a request, N = 1")
    if sizes.get("C", 1) not in (1, 3):
        raise InvalidRequest(f"C is {sizes['C']}: an image has 1 or 3 channels")


def _numbers(tensor: pb.Tensor) -> NDArray[np.generic]:
    """The elements in the tensor's shape; sizes are multiplied as exact integers."""
    kind = _DATA_TYPES.get(tensor.data_type)
    if kind is None:
        names = (known.name.upper() for known in _DATA_TYPES.values())
        raise unlisted("the tensor's data type", tensor.data_type, names, "data_type")
    data, needed = tensor.data, math.prod(tensor.shape) * kind.itemsize
    if len(data) != needed:
        raise InvalidRequest(
            f"shape {list(tensor.shape)} of {kind.name} needs {needed} bytes, data has {len(data)}",
            field="data",
        )
    numbers = np.frombuffer(data, kind).reshape(tuple(tensor.shape))
    return numbers.astype(np.float32) if kind.kind == "f" else numbers


def _channels_last(numbers: NDArray[np.generic], axes: str) -> NDArray[np.generic]:
    """[H, W] or [H, W, C] from any of the axes."""
    planes = numbers[0] if axes == "NCHW" else numbers
    return np.moveaxis(planes, 0, -1) if axes.endswith("CHW") else planes


def _full_scale(tensor: pb.Tensor) -> float:
    if not (math.isfinite(tensor.full_scale) and tensor.full_scale >= 0):
        raise InvalidRequest(
            f"full scale {tensor.full_scale} is not a number above 0; 0 stands for the default",
            field="full_scale",
        )
    return tensor.full_scale or _FULL_SCALES[tensor.data_type]


def _prepared(tensor: pb.Tensor) -> NDArray[np.float32]:
    """[C, H, W], float32."""
    if tensor.data_type != pb.DATA_TYPE_FLOAT32:
        raise InvalidRequest(
            "a preprocessed tensor is FLOAT32: send float32, or send pixels", field="data_type"
        )
    if tensor.full_scale:
        raise InvalidRequest(
            f"full scale {tensor.full_scale} is for pixels: a preprocessed tensor has none",
            field="full_scale",
        )
    planes = _channels_last(_numbers(tensor), tensor.axes)
    rows_first = planes[..., None] if planes.ndim == 2 else planes
    return np.ascontiguousarray(np.moveaxis(rows_first, -1, 0), np.float32)
