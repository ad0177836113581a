"""An image file becomes pixels: PNG, JPEG, TIFF, BMP and WebP, by Pillow.

What is decided here:
- Transparency is dropped, as `Image.convert("RGB")` does in the loaders models are trained
  with: the model sees what it would have seen there.
- Grey stays one channel, and 16-bit grey keeps its 16 bits. Pillow reads 16-bit colour at
  8 bits without a word, so such files are refused: send a uint16 tensor instead.
- A file of several images is refused, not cut to its first: an explanation is of one image.
  (The one exception are the previews that cameras append to a JPEG.)
- A file that lacks part of its pixels is refused, where Pillow would paint them black or grey.
- Exif alone turns an image, as it does for those who show it; Pillow would take XMP as well.
- Colour profiles are not applied.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from salience_service.errors import InvalidRequest, Overloaded, SalienceError, Unsupported
from salience_service.image.jpeg_scans import open_ended
from salience_service.image.pixels import LARGEST_LIMIT, ImageLimits, Pixels
from salience_service.image.png_pixels import check_pixels
from salience_service.image.structure import (
    check_structure,
    check_tags,
    check_tiles,
    has_part_scans,
)

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
SAMPLE_BYTES = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I": 4, "F": 4}
"""As Pillow keeps them; 1 in all other modes."""
BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339
"""TIFF 6.0 tags."""
WHITE_IS_ZERO = 0
EXIF = b"Exif\0\0"
"""How it begins in a JPEG; some write that twice."""
EXIF_AS_TEXT = "Raw profile type exif"
"""A text of a PNG: three lines about it, then the bytes in hexadecimal, as ImageMagick has it."""


def decode(data: bytes, limits: ImageLimits) -> Pixels:
    """Decodes a file and turns it upright by its EXIF orientation.

    The size is checked in the file's header, before any pixel is decoded or stored.

    Returns:
        Full scale 255 for 8-bit files, 65535 for 16-bit grey, 1 for floating-point TIFF.

    Raises:
        InvalidRequest: too large, or not a form that is decoded without loss; damaged or truncated,
            as far as that can be told (docs/limits.md).
        Unsupported: a DICOM file.
        Overloaded: there is no memory for it.
    """
    if len(data) > limits.max_bytes:
        raise InvalidRequest(
            f"the image file has {len(data)} bytes; this server takes at most {limits.max_bytes}"
        )
    if data[128:132] == b"DICM":
        raise Unsupported("this is a DICOM file, which this server cannot decode: send a PNG")
    with _opened(data, limits, open_ended) as image:
        _refuse_several(image)
        bits = _bits(image, data)
        _refuse_lost_bits(image, bits)
        inverted = _white_is_zero(image)
        _load(image, data)
        _turn_upright(image)
        return _pixels(image, 2**bits - 1, inverted)


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded, and before it is turned upright.

    Attributes:
        height, width: in pixels; zeros where `decode` will refuse the file and say why.
        plain: its pixels are decoded as they are kept, and copied nowhere on the way.
    """

    height: int
    width: int
    plain: bool


def header_of(data: bytes, limits: ImageLimits) -> Header:
    """The header of a file; no pixel is decoded."""
    try:
        with _opened(data, limits, bytes) as image:
            return Header(image.height, image.width, _is_plain(image, data))
    except InvalidRequest:
        return Header(0, 0, plain=True)


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """A JPEG of several scans is not: all its coefficients are kept until the last."""
    if image.mode not in ("RGB", "L") or image.format not in ("JPEG", "PNG", "BMP"):
        return False
    return image.format != "JPEG" or not has_part_scans(data, len(image.getbands()))


@contextmanager
def _opened(
    data: bytes, limits: ImageLimits, form: Callable[[bytes], bytes]
) -> Iterator[Image.Image]:
    """The file, opened once what it is built of and what its header claims are within limits.

    Pillow reads what `form` makes of it, and lets go of that when it has decoded it.
    """
    with _clear_errors(limits):
        check_structure(data)
        with Image.open(io.BytesIO(form(data)), formats=FORMATS) as image:
            limits.check_pixels(image.height, image.width)
            samples = image.height * image.width * len(image.getbands())
            limits.check_ratio(samples * SAMPLE_BYTES.get(image.mode, 1), len(data))
            check_tiles(image)
            yield image


@contextmanager
def _clear_errors(limits: ImageLimits) -> Iterator[None]:
    """Turns whatever Pillow raises into words of ours; its own name objects and addresses."""
    names = ", ".join(FORMATS)
    try:
        yield
    except SalienceError:
        raise
    except UnidentifiedImageError as error:
        raise InvalidRequest(f"this is not an image, or its header is damaged: {names}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidRequest(
            f"the image has more than {LARGEST_LIMIT} pixels; "
            f"this server takes at most {limits.max_pixels}: send it smaller"
        ) from error
    except MemoryError as error:
        raise Overloaded("there is no memory left to decode the image; try again later") from error
    except Exception as error:  # Decoders answer damaged bytes with any exception there is.
        raise InvalidRequest("the image file is truncated or damaged: send it again") from error


def _refuse_several(image: Image.Image) -> None:
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise InvalidRequest(
            f"the {image.format} file holds several images: send the one to be explained"
        )


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per sample as the file says; Pillow's mode does not tell."""
    if image.format == "PNG":
        if data[12:16] != b"IHDR":
            raise InvalidRequest("the PNG file does not begin with its header: it is damaged")
        return data[24]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))))
    return 8


def _refuse_lost_bits(image: Image.Image, bits: int) -> None:
    if bits > 8 and image.mode in GREY_MODES + COLOUR_MODES:
        raise InvalidRequest(
            f"the {image.format} file has {bits} bits a channel with colour or transparency, "
            "of which only 8 would be read: send the pixels as a uint16 tensor, or save 8 bits"
        )
    if image.mode == "I" and image.format != "PNG":
        raise InvalidRequest(
            f"the {image.format} file holds signed or {bits}-bit integers, whose full scale is "
            "not stated: send the pixels as a uint16 or float32 tensor with its full scale"
        )


def _load(image: Image.Image, data: bytes) -> None:
    """Decodes it, and refuses a PNG that lacks pixels; for a JPEG see `open_ended`."""
    image.info.pop("xmp", None)  # A TIFF turns itself upright as it is loaded.
    image.load()
    if image.format == "PNG":
        check_pixels(image, data)


def _turn_upright(image: Image.Image) -> None:
    """By its Exif, once that was counted; a PNG's may be kept as text, if it has no other."""
    if (text := image.info.pop(EXIF_AS_TEXT, "")) and "exif" not in image.info:
        image.info["exif"] = bytes.fromhex("".join(text.split("\n")[3:]))
    exif: bytes = image.info.get("exif", b"")
    check_tags(exif.removeprefix(EXIF).removeprefix(EXIF))
    if ORIENTATION in (told := image.getexif()):  # It may be that of XMP, where Exif has none.
        alone = Image.Exif()
        alone.load(exif)
        told[ORIENTATION] = alone.get(ORIENTATION, 1)
    ImageOps.exif_transpose(image, in_place=True)


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF of more than 8 bits runs from white to black: Pillow turns only 8 bits."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode in GREY_MODES:
        return False
    # One that does not say is read as Pillow reads it with 8 bits.
    return bool(image.tag_v2.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO)


def _pixels(image: Image.Image, largest: int, inverted: bool) -> Pixels:
    if image.mode == "F":
        values, full_scale = np.asarray(image, np.float32), 1.0
    elif image.mode == "I" or image.mode.startswith("I;16"):
        values, full_scale = np.asarray(image).astype(np.uint16), float(largest)
    else:
        return Pixels(_eight_bit(image), 255.0)
    if inverted:
        values = np.asarray(full_scale - values, values.dtype)
    return Pixels(values[:, :, None], full_scale)


def _eight_bit(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 [H, W, 1] for grey modes, [H, W, 3] for the others."""
    # Left in, Pillow warns of what we do on purpose: to drop the transparency of a palette.
    image.info.pop("transparency", None)
    if image.mode in GREY_MODES:
        return np.asarray(_in_mode(image, "L"))[:, :, None]
    if image.mode in COLOUR_MODES:
        return np.asarray(_in_mode(image, "RGB"))
    raise InvalidRequest(f"images in the colour space {image.mode} are not read: save it as RGB")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converted, but not copied where there is nothing to convert, as `convert` would."""
    return image if image.mode == mode else image.convert(mode)
