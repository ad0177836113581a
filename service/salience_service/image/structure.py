"""The parts that an image file is made of, counted before Pillow takes it apart.

Pillow walks through headers in Python, keeps what it finds, and decodes part by part, however many
a file has. A good file has few. What a small file may claim beyond that would fill the memory
before any pixel is counted (strips, tags), or keep a core busy for hours that nothing can
interrupt (scans).
"""

import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from salience_service.errors import InvalidRequest

MOST_SCANS = 100
"""Of a JPEG, each a pass over all its pixels. Usual progressive files have 10, all legal ones of
colour could have some hundreds; libtiff and fuzzers of libjpeg set such limits too."""
MOST_SEGMENTS = 65_536
"""Of a JPEG, outside its pixels; 255 of a large colour profile, and some by chance in what cameras
append."""
MOST_EXIF_SEGMENTS = 64
"""Pillow puts them together by copying all that came before, each time."""
MOST_CHUNKS = 65_536
"""Of a PNG. Libraries write pixels in chunks of 8 KiB or more."""
MOST_TAGS, MOST_NUMBERS = 4_096, 65_536
"""Of a TIFF or of Exif; and numbers in one, such as where each strip lies: one a row, for every
channel, at most."""

_SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e][\x01-\x04]")
"""A marker, a length and the channels that it goes with: decoders refuse any other."""
_SCAN_MARKER, _RESTARTS = 0xDA, slice(0xD0, 0xD8)
_BYTES, _TEXT, _OPAQUE = 1, 2, 7
_STRIPS = frozenset((273, 279, 324, 325))
"""TIFF 6.0: where strips and tiles lie, and how long they are."""


def check_structure(data: bytes) -> None:
    """Refuses a file of more parts than any good one has; damaged ones are for Pillow to refuse.

    Raises:
        InvalidRequest: which parts are too many.
    """
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data)
    elif data.startswith(b"\x89PNG"):
        _check_png(data)
    elif data.startswith((b"II", b"MM")):
        check_tags(data)


def check_tiles(image: Image.Image) -> None:
    """Refuses an opened image whose strips or tiles cover it more than once for each channel."""
    boxes = (tile.extents or (0, 0, 0, 0) for tile in getattr(image, "tile", ()))
    area = sum((right - left) * (lower - upper) for left, upper, right, lower in boxes)
    if area > image.height * image.width * len(image.getbands()):
        raise InvalidRequest("the strips of the image overlap: the file is damaged")


def check_tags(data: bytes) -> None:
    """The same for the first directory of a TIFF, or of what a file holds as Exif.

    Raises:
        InvalidRequest: too many tags, or too many numbers in one.
    """
    order, big = "<" if data.startswith(b"II") else ">", data[2:3] == b"\x2b"  # as Pillow reads it
    try:
        (at,) = struct.unpack_from(f"{order}{'Q' if big else 'L'}", data, 8 if big else 4)
        for tag, kind, count in _tags(data, at, order, big):
            if count > MOST_NUMBERS and (tag in _STRIPS or kind not in (_BYTES, _TEXT, _OPAQUE)):
                raise _too_many(f"numbers in its tag {tag}", count, MOST_NUMBERS)
    except struct.error:  # It ends there.
        return


def _tags(data: bytes, at: int, order: str, big: bool) -> Iterator[tuple[int, int, int]]:
    """Of each entry the tag, the type of its numbers, and how many there are."""
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
    if count > MOST_TAGS:
        raise _too_many("tags", count, MOST_TAGS)
    head = struct.Struct(f"{order}HH{'Q' if big else 'L'}")
    first, length = (at + 8, 20) if big else (at + 2, 12)
    for number in range(count):
        yield head.unpack_from(data, first + number * length)


def _check_jpeg(data: bytes) -> None:
    values = np.frombuffer(data, np.uint8)
    marks = np.bincount(values[1:][values[:-1] == 0xFF], minlength=256)
    if marks[_SCAN_MARKER] > MOST_SCANS:
        scans = sum(1 for _ in _SCAN.finditer(data))
        if scans > MOST_SCANS:
            raise _too_many("scans", scans, MOST_SCANS)
    marks[_RESTARTS] = 0  # Within pixels there may be as many as there are blocks.
    segments = int(marks[0xC0:0xFF].sum())
    if segments > MOST_SEGMENTS:
        raise _too_many("segments", segments, MOST_SEGMENTS)
    exif = data.count(b"Exif\0\0")
    if exif > MOST_EXIF_SEGMENTS:
        raise _too_many("segments of Exif", exif, MOST_EXIF_SEGMENTS)


def _check_png(data: bytes) -> None:
    at, chunks, profiles = 8, 0, 0
    while at + 8 <= len(data):
        (length,), kind = struct.unpack_from(">L", data, at), data[at + 4 : at + 8]
        chunks, profiles = chunks + 1, profiles + (kind == b"iCCP")
        if profiles > 1:
            raise _too_many("colour profiles", profiles, 1)
        if chunks > MOST_CHUNKS:
            raise InvalidRequest(f"the image file has more than {MOST_CHUNKS} chunks: save it anew")
        at += 12 + length


def _too_many(parts: str, count: int, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"the image file has {count} {parts}; this server takes at most {most}: save it anew"
    )
