"""The parts that an image file is made of, counted before Pillow takes it apart.

Pillow walks through headers in Python, keeps what it finds, and decodes part by part, however many
a file has. A good file has few. What a small file may claim beyond that would fill the memory
before any pixel is counted (strips, tags), or keep a core busy for hours that nothing can
interrupt (scans).
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from salience_service.errors import InvalidRequest

MOST_SCANS = 100
"""Of a JPEG, each a pass over all its pixels. Usual progressive files have 10, all legal ones of
colour could have some hundreds; libtiff and fuzzers of libjpeg set such limits too."""
MOST_SEGMENTS = 65_536
"""Of a JPEG, outside its pixels; 255 of a large colour profile, and some by chance in what cameras
append."""
MOST_EXIF_SEGMENTS = 16
"""Pillow puts them together by copying all that came before, each time, and unpacks what they hold
before anything is counted. Each has 64 KiB at most, and almost every file one."""
MOST_CHUNKS = 65_536
"""Of a PNG. Libraries write pixels in chunks of 8 KiB or more."""
MOST_DIRECTORIES, MOST_TAGS, MOST_NUMBERS = 8, 4_096, 140_000
"""Of a TIFF or of Exif: directories, of which good ones have four; tags in each; and numbers in
them all, which Pillow unpacks one by one. Most are where each strip lies and how long it is: one a
row, for every channel."""

_SCAN = re.compile(rb"\xff\xda\x00[\x08\x0a\x0c\x0e]([\x01-\x04])")
"""A marker, a length and the channels that it goes with: decoders refuse any other."""
_SLICE = 1 << 20
"""Bytes of a JPEG whose marks are counted at a time: counting takes ten times as many."""
_SCAN_MARKER, _RESTARTS = 0xDA, slice(0xD0, 0xD8)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a number, by the types of TIFF 6.0 and BigTIFF."""
_WHOLE = frozenset((1, 2, 7))
"""Types whose numbers Pillow takes as one: bytes, text, and what is opaque."""
_STRIPS = frozenset((273, 279, 324, 325))
"""TIFF 6.0: where strips and tiles lie, and how long they are."""
_DIRECTORIES = frozenset((34665, 34853, 40965))
"""Tags that say where a further directory lies: Exif's, GPS's, and that of interoperability."""
_PLACES = {4: "L", 13: "L", 16: "Q"}
"""Types in which they say so, as `struct` has them."""


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


def has_part_scans(data: bytes, channels: int) -> bool:
    """Whether a scan of a JPEG goes with fewer channels than there are: several are decoded."""
    return any(scan[1][0] < channels for scan in _SCAN.finditer(data))


def check_tags(data: bytes) -> None:
    """The same for the first directory of a TIFF, or of what a file holds as Exif.

    What Pillow passes over is not counted: numbers that do not lie in the file, or of no type.

    Raises:
        InvalidRequest: too many directories, tags, or numbers in them; tags of more bytes than
            the file has; or a directory whose place is not told as it should be.
    """
    order, big = "<" if data.startswith(b"II") else ">", data[2:3] == b"\x2b"  # as Pillow reads it
    form = _Form(data, order, big)
    waiting, seen, numbers, size = {form.first}, set[int](), 0, 0
    while waiting:
        seen |= waiting
        if len(seen) > MOST_DIRECTORIES:
            raise _too_many("directories of tags", len(seen), MOST_DIRECTORIES)
        entries = list(form.entries(waiting.pop()))
        unpacked = (each for each in entries if each.tag in _STRIPS or each.kind not in _WHOLE)
        numbers += sum(each.count for each in unpacked)
        size += sum(each.size for each in entries)
        waiting |= form.within(entries) - seen
    if numbers > MOST_NUMBERS:
        raise _too_many("numbers in its tags", numbers, MOST_NUMBERS)
    if size > len(data):
        raise InvalidRequest("the tags of the image overlap: the file is damaged")


@dataclass(frozen=True)
class _Entry:
    """What a directory says of a tag; `at` is where its numbers lie, or else the place of them."""

    tag: int
    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of its numbers; 0 of a type that there is not."""
        return self.count * _SIZES.get(self.kind, 0)


@dataclass(frozen=True)
class _Form:
    """How directories are written: `order` as `struct` has it, and whether in BigTIFF."""

    data: bytes
    order: str
    big: bool

    @property
    def first(self) -> int:
        """Where the first directory lies."""
        return self._number(self._word, self._room)

    def entries(self, at: int) -> Iterator[_Entry]:
        """Of the directory there, those that lie in the file with all their numbers.

        Raises:
            InvalidRequest: too many.
        """
        head = struct.Struct(f"{self.order}HH{self._word}")
        begin, step = at + (8 if self.big else 2), head.size + self._room
        stated = self._number("Q" if self.big else "H", at)
        count = min(stated, max(0, len(self.data) - begin) // step)
        if count > MOST_TAGS:
            raise _too_many("tags", count, MOST_TAGS)
        for place in range(begin, begin + count * step, step):
            tag, kind, numbers = head.unpack_from(self.data, place)
            entry = _Entry(tag, kind, numbers, place + head.size)
            if 0 < entry.size <= len(self.data) - self._begin(entry):
                yield entry

    def within(self, entries: Sequence[_Entry]) -> set[int]:
        """Where further directories lie: of entries of one tag Pillow takes the first.

        Raises:
            InvalidRequest: that is said in a way in which no good file says it.
        """
        told = {each.tag: each for each in reversed(entries) if each.tag in _DIRECTORIES}
        if any(each.kind not in _PLACES or each.count > 1 for each in told.values()):
            raise InvalidRequest("the tags of the image lie in no clear place: save the file anew")
        return {self._number(_PLACES[each.kind], self._begin(each)) for each in told.values()}

    @property
    def _word(self) -> str:
        return "Q" if self.big else "L"

    @property
    def _room(self) -> int:
        """Bytes of an entry for its numbers, or for the place of them."""
        return 8 if self.big else 4

    def _begin(self, entry: _Entry) -> int:
        return entry.at if entry.size <= self._room else self._number(self._word, entry.at)

    def _number(self, letter: str, at: int) -> int:
        """The number there; 0 where the file ends before it."""
        form = struct.Struct(self.order + letter)
        if at + form.size > len(self.data):
            return 0
        (found,) = form.unpack_from(self.data, at)
        return int(found)


def _check_jpeg(data: bytes) -> None:
    marks = _marks(data)
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


def _marks(data: bytes) -> NDArray[np.int64]:
    """How often each byte follows 0xff, int64 [256]."""
    values, marks = np.frombuffer(data, np.uint8), np.zeros(256, np.int64)
    for start in range(0, len(values), _SLICE):
        part = values[start : start + _SLICE + 1]
        marks += np.bincount(part[1:][part[:-1] == 0xFF], minlength=256)
    return marks


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks of a PNG, in order, up to that which ends it: what each is, and what it holds."""
    view, at = memoryview(data), 8
    while at + 8 <= len(data):
        (length,), kind = struct.unpack_from(">L", data, at), data[at + 4 : at + 8]
        yield kind, view[at + 8 : at + 8 + length]
        if kind == b"IEND":
            return
        at += 12 + length


def _check_png(data: bytes) -> None:
    profiles = 0
    for count, (kind, _) in enumerate(chunks(data), 1):
        profiles += kind == b"iCCP"
        if profiles > 1:
            raise _too_many("colour profiles", profiles, 1)
        if count > MOST_CHUNKS:
            raise InvalidRequest(f"the image file has more than {MOST_CHUNKS} chunks: save it anew")


def _too_many(parts: str, count: int, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"the image file has {count} {parts}; this server takes at most {most}: save it anew"
    )
