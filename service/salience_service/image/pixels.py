"""The pixels of one image with the value that means full intensity, and the limits on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import InvalidRequest

LARGEST_LIMIT = 89_478_485
"""Pixels above which Pillow itself warns of a decompression bomb."""

USUAL_RATIO = 2000
"""Deflate cannot beat 1,032, so that every PNG of 8 or 16 bits passes; pictures of one colour
reach 192 as JPEG and 1,684 as WebP, medical images on black 174 as PNG, 1,550 as WebP (measured).
Beyond lie flat pictures in lossless WebP (76,000), 1-bit PNG (8,256) and fax TIFF (13,500)."""
FREE_BYTES = 16 * 2**20
"""Of pixels that any file may claim: small pictures of one colour harm nobody."""

LEAST_FULL_SCALE = float(np.finfo(np.float32).smallest_normal)
GREATEST_FULL_SCALE = float(np.finfo(np.float32).max)
"""Beyond these, float32 pixels over their full scale would be NaN or zero."""


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be.

    Attributes:
        max_bytes: bytes of an encoded file.
        max_pixels: height × width, at most 89,478,485.
        max_side: height or width; the way back to the original takes memory by the side.
        max_ratio: bytes of a decoded image for each byte of its file, beyond `FREE_BYTES`.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 32_767
    max_ratio: int = USUAL_RATIO

    def __post_init__(self) -> None:
        if min(self.max_bytes, self.max_pixels, self.max_side, self.max_ratio) < 1:
            raise ValueError("limits on images: use at least 1 byte, 1 pixel, side and ratio 1")
        if self.max_pixels > LARGEST_LIMIT:
            raise ValueError(f"a limit of {self.max_pixels} pixels: use at most {LARGEST_LIMIT}")

    def check_pixels(self, height: int, width: int) -> None:
        """Refuses an image with no pixels, or more than the limits (InvalidRequest)."""
        if height < 1 or width < 1:
            raise InvalidRequest(f"the image is {height}×{width} pixels: it has none")
        if max(height, width) > self.max_side:
            raise InvalidRequest(
                f"the image is {height}×{width} pixels; "
                f"this server takes sides of at most {self.max_side}: send it smaller"
            )
        if height * width > self.max_pixels:
            raise InvalidRequest(
                f"the image is {height}×{width} = {height * width} pixels; "
                f"this server takes at most {self.max_pixels}: send it smaller"
            )

    def check_ratio(self, decoded: int, encoded: int) -> None:
        """Refuses a small file that claims a huge picture (InvalidRequest); both in bytes."""
        if decoded > FREE_BYTES and decoded > self.max_ratio * encoded:
            raise InvalidRequest(
                f"the image file has {encoded} bytes and claims {decoded} bytes of pixels, "
                f"{decoded // encoded} times as many; this server takes at most {self.max_ratio} "
                "times: send a smaller image, or save it as PNG or JPEG with 8 bits a channel"
            )


@dataclass(frozen=True)
class Pixels:
    """An upright image. Valid once constructed.

    Attributes:
        values: [H, W, C], C 1 (grey) or 3 (red, green, blue); uint8, uint16 or float32, each in
            [0, full_scale].
        full_scale: the value that means full intensity, > 0.

    Raises:
        InvalidRequest: another shape or type, NaN, infinity, or a value out of range.
    """

    values: NDArray[np.generic]
    full_scale: float

    def __post_init__(self) -> None:
        shape, dtype = self.values.shape, self.values.dtype
        if len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise InvalidRequest(f"pixels of shape {list(shape)}: use [H, W], [H, W, 1 or 3]")
        if dtype not in (np.uint8, np.uint16, np.float32):
            raise InvalidRequest(f"pixels of type {dtype}: use uint8, uint16 or float32")
        if not LEAST_FULL_SCALE <= self.full_scale <= GREATEST_FULL_SCALE:  # NaN compares false.
            raise InvalidRequest(
                f"full scale {self.full_scale}: use a number from "
                f"{LEAST_FULL_SCALE:.2g} to {GREATEST_FULL_SCALE:.2g}"
            )
        self._check_range()

    def _check_range(self) -> None:
        if self.eight_bit:
            return
        # NaN and infinity come out of min and max as they are.
        low, high = float(np.min(self.values)), float(np.max(self.values))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InvalidRequest("pixels hold NaN or infinity: every pixel must be a number")
        if low < 0 or high > self.full_scale:
            raise InvalidRequest(
                f"pixels lie in [{low:g}, {high:g}], outside [0, {self.full_scale:g}]: "
                "state the full scale, or scale them"
            )

    @property
    def eight_bit(self) -> bool:
        """Whether these are plain 8-bit pixels, for which Pillow's own arithmetic is the norm."""
        return is_eight_bit(self.values, self.full_scale)

    def shown(self) -> NDArray[np.uint8]:
        """The pixels for the eye, uint8 [H, W, C]; those of an 8-bit image are not copied."""
        if self.eight_bit:
            return self.values.astype(np.uint8, copy=False)
        return to_bytes(np.asarray(self.values, np.float32) / np.float32(self.full_scale))


def is_eight_bit(values: NDArray[np.generic], full_scale: float) -> bool:
    """Whether values are plain 8-bit pixels."""
    return values.dtype == np.uint8 and full_scale == 255


def to_bytes(intensity: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Intensities, clipped to [0, 1], as the nearest of 0 to 255."""
    return np.asarray(np.rint(np.clip(intensity, 0, 1) * 255), np.uint8)
