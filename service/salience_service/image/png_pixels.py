"""The pixels of a decoded PNG: whether its data held them all, and its palette all their colours.

Pillow shows as black what the data end before, and whatever has no entry in the palette.
"""

import zlib

import numpy as np
from PIL import Image

from salience_service.errors import InvalidRequest
from salience_service.image.structure import chunks

_BITS, _COLOUR_TYPE, _INTERLACED = 24, 25, 28
"""Bytes of the file, in the header that stands first."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By colour type."""
_ONE_PASS = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
)  # fmt: skip
"""First row and column of each pass, and the steps from there."""
_PIECE = 1024
"""Bytes that are inflated at a time, to 1 MiB at most."""


def check_pixels(image: Image.Image, data: bytes) -> None:
    """Refuses a PNG that does not say what each of its pixels is.

    Args:
        image: decoded, and not yet turned upright.
        data: the file, whose header comes first.

    Raises:
        InvalidRequest: rows are missing, or colours.
    """
    if image.mode == "P":
        _check_palette(image, data)
    # Inflating takes half as long as decoding did. Rows are decoded in turn, whole or not at all,
    # so that nothing is missing before a last one that has anything in it.
    if data[_INTERLACED] or not _last_row(image).strip(b"\0"):
        _check_rows(image, data)


def _check_palette(image: Image.Image, data: bytes) -> None:
    palettes = [len(body) // 3 for kind, body in chunks(data) if kind == b"PLTE"]
    colours = palettes[-1] if palettes else 0
    greatest = int(np.asarray(image).max())
    if greatest >= colours:
        raise InvalidRequest(
            f"the PNG file has pixels of colour {greatest} and a palette of {colours} colours: "
            "it is damaged"
        )


def _last_row(image: Image.Image) -> bytes:
    return image.crop((0, image.height - 1, *image.size)).tobytes()


def _check_rows(image: Image.Image, data: bytes) -> None:
    wanted = _row_bytes(image, data)
    held = _inflated(data, wanted)
    if held < wanted:
        raise InvalidRequest(
            f"the PNG file holds {held} of the {wanted} bytes that its rows take: it is damaged"
        )


def _row_bytes(image: Image.Image, data: bytes) -> int:
    """Of all rows of all passes, with the byte before each that names its filter."""
    bits, total = data[_BITS] * _CHANNELS[data[_COLOUR_TYPE]], 0
    for top, left, down, across in _ADAM7 if data[_INTERLACED] else _ONE_PASS:
        rows, columns = range(top, image.height, down), range(left, image.width, across)
        if columns:
            total += len(rows) * (1 + (len(columns) * bits + 7) // 8)
    return total


def _inflated(data: bytes, wanted: int) -> int:
    """Bytes of rows that the file holds; where there are enough, no more are looked for."""
    inflater, held = zlib.decompressobj(), 0
    for kind, body in chunks(data):
        if kind != b"IDAT":
            continue
        for at in range(0, len(body), _PIECE):
            held += len(inflater.decompress(body[at : at + _PIECE]))
            if inflater.eof or held >= wanted:
                return held
    return held
