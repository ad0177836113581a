"""The scans of a JPEG: whether they tell the whole picture.

Where its data end before the picture does, libjpeg paints the rest grey, and Pillow drops the
warning that it gives.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from salience_service.errors import InvalidRequest

_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
"""Not a byte 0xff of pixels, which a zero follows, nor a restart among them."""
_SCAN, _END = 0xDA, 0xD9
_LEAST = 0xC0
"""Of markers that mean something; decoders give up at others, and `check_structure` counts none."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), (0xC2, 0xCA)
"""Frames in Huffman's code whose scans hold all of their channels' coefficients; and frames, in
either code, whose scans hold some, or some bits of them."""
_NOTHING = b"\xff\x00" * 8
"""libjpeg reads up to eight bytes ahead. As pixels these are bits of one, which no code has: two
or three blocks of 8×8 use them up, so that no more than these can be missing unnoticed."""

Marker = tuple[int, int]
"""What it is, and where in the file."""


def open_ended(data: bytes) -> bytes:
    """The file as it is to be decoded, so that one without all of its pixels is found out.

    A JPEG of one scan comes without what ends that scan: libjpeg then asks for what is missing,
    of which there is none, and Pillow says that the file is truncated. What is not a JPEG of
    Huffman's code and one scan comes as it is.

    Raises:
        InvalidRequest: of a JPEG of several scans, that they leave out part of the picture.
    """
    if not data.startswith(b"\xff\xd8"):
        return data
    markers = list(_markers(data))
    frames = [marker for marker in markers if marker[0] in _FRAMES]
    scans = [number for number, (kind, _) in enumerate(markers) if kind == _SCAN]
    if not frames or not scans:
        return data
    (kind, at), first = frames[0], scans[0]
    channels = _held(data, at)[6::3]
    if _held(data, markers[first][1])[0] < len(channels) or kind in _PROGRESSIVE:
        _check_scans(kind, channels, [_held(data, markers[scan][1]) for scan in scans])
    elif kind in _SEQUENTIAL and first + 1 < len(markers):
        return data[: markers[first + 1][1]] + _NOTHING
    return data


def _markers(data: bytes) -> Iterator[Marker]:
    """Those of the file up to the end of its picture; not those within segments."""
    at = 2
    while found := _MARKER.search(data, at):
        kind = found[1][0]
        yield kind, found.start()
        if kind == _END or kind < _LEAST:
            return
        at = found.end() + _length(data, found.end())


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _held(data: bytes, at: int) -> bytes:
    """What the segment of the marker there holds."""
    return data[at + 4 : at + 2 + _length(data, at + 2)]


def _check_scans(kind: int, channels: bytes, scans: Sequence[bytes]) -> None:
    """Refuses scans that do not tell every coefficient of every channel to the last bit."""
    missing = np.ones((len(channels), 64), np.uint8)  # bits of each, or 1 where it is all
    for scan in scans:
        told = [channels.index(each) for each in scan[1 : 1 + 2 * scan[0] : 2]]
        begin, end, bits = scan[1 + 2 * scan[0] :][:3] if kind in _PROGRESSIVE else (0, 63, 0)
        missing[told, begin : end + 1] = bits & 15
    if missing.any():
        raise InvalidRequest(
            f"the {len(scans)} scans of the JPEG leave out part of the picture: "
            "the file was cut; send it again, or save it anew"
        )
