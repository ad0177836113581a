"""An image of any kind becomes the model's input, and remembers where that lies in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salience_service.bundle.manifest import (
    ColourOrder,
    InputContract,
    Interpolation,
    ResizeRule,
)
from salience_service.errors import InvalidRequest, Unsupported
from salience_service.field_path import at, read
from salience_service.image.decode import decode
from salience_service.image.fit import Fit, fit
from salience_service.image.pixels import ImageLimits, Pixels, to_bytes
from salience_service.image.placement import Placement
from salience_service.request import DicomImage, EncodedImage, ImageInput, PixelImage, PreparedImage

Number = TypeVar("Number", bound=np.generic)

RESAMPLING = {
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}
LUMA = np.array((0.299, 0.587, 0.114), np.float32)
"""Red, green, blue to grey: ITU-R BT.601, as Pillow's mode L."""


@dataclass(frozen=True)
class Prepared:
    """An image ready for the model.

    Attributes:
        tensor: float32 [C, H, W], normalised, in the model's channel order.
        placement: where that lies in the image as sent.
        original: the image as sent, for the eye: uint8 [H0, W0, 1 or 3], red, green, blue.
            Eight bits, because it is kept as long as the request lives.
        colour_order: of the tensor's channels.
    """

    tensor: NDArray[np.float32]
    placement: Placement
    original: NDArray[np.uint8]
    colour_order: ColourOrder


def prepare(image: ImageInput, contract: InputContract, limits: ImageLimits) -> Prepared:
    """Decodes, resizes, crops and normalises; 8-bit images exactly as torchvision with Pillow.

    Pixels of more than 8 bits are resized in float32, then clipped to [0, 1] as Pillow clips
    8-bit pixels. A grey image is repeated over three channels; a colour image becomes BT.601
    luma for a one-channel model. The border is black where a crop is larger than the image
    (as torchvision), zero in normalised space under the rule `pad`.

    Raises:
        InvalidRequest: the image is damaged, too large, of a wrong shape, type or range.
        Unsupported: a DICOM file.
    """
    match image:
        case DicomImage():
            raise Unsupported(
                "DICOM files are not decoded by this server: send a PNG", field="dicom"
            )
        case PreparedImage():
            return read("tensor", _as_it_is, image.tensor, contract)
        case EncodedImage():
            with at("encoded"):
                return _fitted(decode(image.data, limits), contract, limits)
        case PixelImage():
            with at("tensor"):
                return _fitted(_given(image, limits), contract, limits)


def to_pixels(tensor: NDArray[np.float32], contract: InputContract) -> NDArray[np.uint8]:
    """The way back: a model input [C, H, W] as pixels for the eye, uint8 [H, W, C], RGB order."""
    mean = np.asarray(contract.mean).reshape(-1, 1, 1)
    std = np.asarray(contract.std).reshape(-1, 1, 1)
    intensity = (tensor * std + mean) / contract.white
    return to_bytes(in_order(intensity, contract).transpose(1, 2, 0))


def in_order(channels: NDArray[Number], contract: InputContract) -> NDArray[Number]:
    """[C, ...] from red, green, blue to the model's channel order, or back."""
    return channels[::-1] if contract.colour_order is ColourOrder.BGR else channels


def _given(image: PixelImage, limits: ImageLimits) -> Pixels:
    values = image.pixels[:, :, None] if image.pixels.ndim == 2 else image.pixels
    if values.ndim == 3:
        limits.check_pixels(*values.shape[:2])
    return Pixels(values, image.full_scale)


def _as_it_is(tensor: NDArray[np.float32], contract: InputContract) -> Prepared:
    wanted = (contract.channels, contract.height, contract.width)
    if tensor.shape != wanted or tensor.dtype != np.float32:
        raise InvalidRequest(
            f"the preprocessed tensor is {tensor.dtype} {list(tensor.shape)}; "
            f"this model takes float32 {list(wanted)}"
        )
    if not np.isfinite(tensor).all():
        raise InvalidRequest("the preprocessed tensor holds NaN or infinity")
    height, width = wanted[1:]
    placement = Placement(height, width, height, width, 0.0, 0.0, 1.0, 1.0)
    shown = to_pixels(tensor, contract)
    return Prepared(np.ascontiguousarray(tensor), placement, shown, contract.colour_order)


def _fitted(pixels: Pixels, contract: InputContract, limits: ImageLimits) -> Prepared:
    height, width = pixels.values.shape[:2]
    plan = fit(height, width, contract)
    if plan.height * plan.width > limits.max_pixels:
        raise InvalidRequest(
            f"the image is {height}×{width} pixels, and would be {plan.height}×{plan.width} when "
            f"resized; at most {limits.max_pixels} are allowed: crop it to a less extreme shape"
        )
    samples = _resized(_coloured(pixels, contract), plan, contract)
    channels = in_order(np.broadcast_to(samples, (contract.channels, *samples.shape[1:])), contract)
    tensor = _bordered(_normalised(channels, pixels.full_scale, contract), plan, contract)
    placement = plan.placement((height, width), contract)
    return Prepared(tensor, placement, pixels.shown(), contract.colour_order)


def _coloured(pixels: Pixels, contract: InputContract) -> Pixels:
    """Colour to luma where the model takes grey; all else as it is."""
    if contract.channels == 3 or pixels.values.shape[2] == 1:
        return pixels
    if pixels.eight_bit:
        return Pixels(np.asarray(Image.fromarray(pixels.values).convert("L"))[:, :, None], 255.0)
    luma = np.asarray(pixels.values, np.float32) @ LUMA
    # The weights may sum to 1 + 6e-8.
    return Pixels(np.minimum(luma, np.float32(pixels.full_scale))[:, :, None], pixels.full_scale)


def _resized(pixels: Pixels, plan: Fit, contract: InputContract) -> NDArray[np.generic]:
    """Resizes, and keeps what the model sees: [1 or 3, h, w], uint8 where they have 8 bits, else
    float32 near [0, full scale].
    """
    method = RESAMPLING[contract.resize.interpolation]
    rows, columns = plan.kept(contract)
    planes = []
    for picture in _pictures(pixels):
        resized = picture.resize((plan.width, plan.height), method)
        planes.append(np.atleast_3d(np.asarray(resized)[rows, columns]))
    return np.concatenate(planes, axis=2).transpose(2, 0, 1)


def _normalised(
    channels: NDArray[np.generic], full_scale: float, contract: InputContract
) -> NDArray[np.float32]:
    """What `_resized` gave, [C, h, w] in the model's channel order, as the model's numbers.

    Those of 8 bits are looked up: the same numbers in a tenth of the time.
    """
    if channels.dtype == np.uint8:
        numbers = np.empty(channels.shape, np.float32)
        for table, plane, found in zip(
            _eight_bit_numbers(contract), channels, numbers, strict=True
        ):
            np.take(table, plane, out=found, mode="clip")  # The default mode copies `out`.
        return numbers
    # In place: arrays of this size may come from the system, which zeroes them page by page.
    intensity = channels.astype(np.float32, order="C")
    intensity /= np.float32(full_scale)
    return contract.normalise(np.clip(intensity, 0, 1, out=intensity))


@lru_cache(maxsize=64)
def _eight_bit_numbers(contract: InputContract) -> NDArray[np.float32]:
    """The model's numbers for samples of 0 to 255, float32 [C, 256]."""
    intensity = np.arange(256, dtype=np.float32) / np.float32(255)
    numbers = contract.normalise(np.broadcast_to(intensity, (contract.channels, 256)))
    numbers.flags.writeable = False
    return numbers


def _pictures(pixels: Pixels) -> Iterator[Image.Image]:
    """The pixels for Pillow: one picture of 8 bits, else one float32 picture a channel."""
    channels = np.moveaxis(pixels.values, 2, 0)
    if pixels.eight_bit:
        yield Image.fromarray(channels[0] if len(channels) == 1 else pixels.values)
    else:
        yield from (Image.fromarray(channel.astype(np.float32)) for channel in channels)


def _bordered(
    tensor: NDArray[np.float32], plan: Fit, contract: InputContract
) -> NDArray[np.float32]:
    """Puts [C, h, w] into the model's [C, H, W], with a border where it is short."""
    if tensor.shape[1:] == (contract.height, contract.width):
        return np.ascontiguousarray(tensor)
    window = np.zeros((contract.channels, contract.height, contract.width), np.float32)
    if contract.resize.rule is not ResizeRule.PAD:
        window += contract.normalise(np.zeros((contract.channels, 1, 1)))
    top, left = max(-plan.top, 0), max(-plan.left, 0)
    window[:, top : top + tensor.shape[1], left : left + tensor.shape[2]] = tensor
    return window
