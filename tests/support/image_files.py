"""Image files written byte by byte, for forms that Pillow reads but does not write."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
"""Colour types of PNG."""


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_header(
    height: int, width: int, bits: int, colour_type: int, *, interlaced: bool = False
) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", fields)


def png16(pixels: NDArray[np.uint16], colour_type: int) -> bytes:
    """A 16-bit PNG of [H, W, C]."""
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    body = png_chunk(b"IDAT", zlib.compress(lines)) + png_chunk(b"IEND", b"")
    return png_header(*pixels.shape[:2], 16, colour_type) + body


def blank_png(height: int, width: int) -> bytes:
    """A whole, valid 1-bit PNG of any size, black: large images in small files."""
    deflate = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    data = b"".join(deflate.compress(line) for _ in range(height)) + deflate.flush()
    body = png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return png_header(height, width, 1, GREY) + body


def with_exif_text(png: bytes, exif: bytes) -> bytes:
    """The PNG with Exif as ImageMagick kept it before there was a chunk for it."""
    text = f"Raw profile type exif\0\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    return png[:33] + png_chunk(b"tEXt", text) + png[33:]


def tiff(
    pixels: NDArray[np.generic],
    *,
    white_is_zero: bool = False,
    orientation: int = 1,
    bits: int | None = None,
) -> bytes:
    """An uncompressed little-endian TIFF of [H, W] or [H, W, 3], one strip, any number type.

    Of 16-bit grey it may keep the lowest `bits` alone.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if bits is None:
        data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        bits = 8 * pixels.dtype.itemsize
    else:
        each = np.unpackbits(pixels.astype(">u2")[:, :, None].view(np.uint8), axis=2)
        data = np.packbits(each[:, :, -bits:].reshape(len(pixels), -1), axis=1).tobytes()
    photometric = 2 if channels == 3 else int(not white_is_zero)
    sample_format = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = [
        (256, 4, [pixels.shape[1]]), (257, 4, [pixels.shape[0]]), (258, 3, [bits] * channels),
        (259, 3, [1]), (262, 3, [photometric]), (273, 4, [8]), (274, 3, [orientation]),
        (277, 3, [channels]), (278, 4, [pixels.shape[0]]), (279, 4, [len(data)]),
        (339, 3, [sample_format] * channels),
    ]  # fmt: skip
    data += b"\0" * (len(data) % 2)
    directory_at, extra = 8 + len(data), b""
    extra_at = directory_at + 2 + 12 * len(tags) + 4
    directory = struct.pack("<H", len(tags))
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'I' if kind == 4 else 'H'}", *values)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack("<I", extra_at + len(extra))
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    header = b"II*\0" + struct.pack("<I", directory_at)
    return header + data + directory + struct.pack("<I", 0) + extra


def turned_by_xmp(pixels: NDArray[np.uint8], form: str, exif: Image.Exif | None = None) -> bytes:
    """A file whose XMP says that it lies on its side; what its Exif says is another matter."""
    told = '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    options: dict[str, object] = {"xmp": told.encode()}
    if form == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", told)
        options = {"pnginfo": text}
    elif form == "TIFF":
        options = {"tiffinfo": {700: told.encode()}}
    elif form == "WEBP":
        options["lossless"] = True
    if exif is not None:
        options["exif"] = exif
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
