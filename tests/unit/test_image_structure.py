"""Files of more parts than any good one has are refused before Pillow takes them apart."""

import io
import re
import struct
import time
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from salience_service.errors import InvalidRequest
from salience_service.image.decode import decode, header_of
from salience_service.image.pixels import ImageLimits
from salience_service.image.structure import (
    MOST_CHUNKS,
    MOST_DIRECTORIES,
    MOST_EXIF_SEGMENTS,
    MOST_NUMBERS,
    MOST_SCANS,
    MOST_SEGMENTS,
    MOST_TAGS,
    check_structure,
    has_part_scans,
)
from tests.support.image_files import GREY, blank_png, png_chunk, png_header, with_exif_text

LIMITS = ImageLimits(max_ratio=10**6)
SHORT, LONG, BYTE, UNDEFINED, IFD, LONG8 = 3, 4, 1, 7, 13, 16
LETTERS = {BYTE: "B", SHORT: "H", LONG: "L", UNDEFINED: "B", IFD: "L", LONG8: "Q"}
STRIP_OFFSETS, ORIENTATION, EXIF, GPS, INTEROP, MAKER_NOTE = 273, 0x0112, 34665, 34853, 40965, 37500
Tags = list[tuple[int, int, list[int]]]
AT_ONCE_SECONDS = 5.0
"""Of the processor's time, so that a busy machine has no say: too little to decode such a file."""


def refusal(data: bytes) -> str:
    """Why a file is refused, which both who measures and who decodes it find at once."""
    began = time.thread_time()
    assert header_of(data, LIMITS).height == 0
    with pytest.raises(InvalidRequest) as refused:
        decode(data, LIMITS)
    assert time.thread_time() - began < AT_ONCE_SECONDS
    return str(refused.value)


def directory(tags: Tags, start: int, order: str, big: bool) -> bytes:
    """A directory of a TIFF that begins at `start`, and behind it what does not fit in it."""
    count, entry, room = ("Q", "HHQ", 8) if big else ("H", "HHL", 4)
    head = struct.pack(order + count, len(tags))
    extra_at = start + len(head) + (8 + 3 * room // 2 if big else 12) * len(tags) + room
    entries, extra = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"{order}{len(values)}{LETTERS[kind]}", *values)
        if len(packed) > room:
            place = struct.pack(order + ("Q" if big else "L"), extra_at + len(extra))
            extra, packed = extra + packed, place
        entries += struct.pack(order + entry, tag, kind, len(values)) + packed.ljust(room, b"\0")
    return head + entries + bytes(room) + extra


def tiff(
    offsets: list[int], kind: int = LONG, order: str = "<", big: bool = False, height: int = 2
) -> bytes:
    """A TIFF of grey, a row a strip; its strips lie at the offsets, all of them in its header."""
    tags = [
        (256, SHORT, [8]), (257, SHORT, [height]), (258, SHORT, [8]), (259, SHORT, [1]),
        (262, SHORT, [1]), (STRIP_OFFSETS, kind, offsets), (277, SHORT, [1]), (278, SHORT, [1]),
    ]  # fmt: skip
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
        return head + directory(tags, 16, order, big=True)
    return mark + struct.pack(order + "HL", 42, 8) + directory(tags, 8, order, big=False)


def progressive() -> bytes:
    """A JPEG of ten scans, as libraries write it."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    picture = np.stack([*np.meshgrid(ramp, ramp), np.full((64, 64), 90, np.uint8)], -1)
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "JPEG", progressive=True)
    return file.getvalue()


def scans(data: bytes) -> int:
    return data.count(b"\xff\xda")


def test_a_usual_progressive_jpeg_is_taken() -> None:
    data = progressive()
    assert 5 < scans(data) < MOST_SCANS
    assert decode(data, LIMITS).values.shape == (64, 64, 3)


def test_a_progressive_jpeg_is_not_kept_as_it_is_decoded() -> None:
    """Its coefficients are twice its pixels."""
    assert not header_of(progressive(), LIMITS).plain


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = progressive()
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    most = data[:-2] + scan * (MOST_SCANS - scans(data)) + data[-2:]
    check_structure(most)
    more = data[:-2] + scan * 1000 + data[-2:]
    assert f"{scans(more)} scans; this server takes at most {MOST_SCANS}" in refusal(more)


def test_what_looks_like_a_scan_in_other_data_is_none() -> None:
    data = progressive()
    assert decode(data + b"\xff\xda\x12\x34" * 1000, LIMITS).values.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("segment", "most", "said"),
    [
        (b"\xff\xe1\x00\x12Exif\0\0" + bytes(10), MOST_EXIF_SEGMENTS, "segments of Exif"),
        (b"\xff\xfe\x00\x02", MOST_SEGMENTS, "segments"),
    ],
)
def test_a_jpeg_of_segments_without_end_is_refused(segment: bytes, most: int, said: str) -> None:
    data = progressive()
    assert said in refusal(data[:2] + segment * (most + 1) + data[2:])


@pytest.mark.parametrize(
    ("kind", "order", "big"),
    [
        (LONG, "<", False),
        (LONG, ">", False),
        (SHORT, "<", False),
        (BYTE, "<", False),
        (LONG8, "<", True),
    ],
)
def test_a_tiff_of_a_million_strips_is_refused(kind: int, order: str, big: bool) -> None:
    data = tiff([8] * 10**6, kind, order, big)
    said = rf"\d+ numbers in its tags; this server takes at most {MOST_NUMBERS}"
    assert re.search(said, refusal(data))


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_of_a_strip_for_each_row_is_taken(order: str, big: bool) -> None:
    kind = LONG8 if big else LONG
    assert decode(tiff([8] * 200, kind, order, big, height=200), LIMITS).values.shape[:2] == (
        200,
        8,
    )


def test_a_tiff_whose_strips_lie_over_each_other_is_refused() -> None:
    """Each is copied, however often they cover the picture."""
    assert "overlap" in refusal(tiff([8] * 5000))


def test_a_tiff_of_tags_without_end_is_refused() -> None:
    tags = [(tag, SHORT, [1]) for tag in range(MOST_TAGS + 1)]
    data = b"II*\0" + struct.pack("<L", 8) + directory(tags, 8, "<", big=False)
    assert f"{MOST_TAGS + 1} tags" in refusal(data)


def exif(tags: Tags) -> bytes:
    upright = [(ORIENTATION, SHORT, [6])]
    return b"MM\0*" + struct.pack(">L", 8) + directory([*upright, *tags], 8, ">", big=False)


def with_exif(form: str, told: bytes) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (7, 5)).save(file, form, exif=told)
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("tags", [1, 20])
def test_exif_of_a_million_numbers_is_refused(form: str, tags: int) -> None:
    """In one tag, or in many."""
    assert decode(with_exif(form, exif([])), LIMITS).values.shape == (7, 5, 3)
    numbers = [(0x9000 + tag, SHORT, [7] * (10**6 // tags)) for tag in range(tags)]
    with pytest.raises(InvalidRequest, match=r"100000\d numbers in its tags"):
        decode(with_exif(form, exif(numbers)), LIMITS)


def test_exif_that_a_png_keeps_as_text_is_counted_too() -> None:
    data = with_exif_text(blank_png(5, 7), exif([(0x9000, SHORT, [7] * 10**6)]))
    with pytest.raises(InvalidRequest, match=r"100000\d numbers in its tags"):
        decode(data, LIMITS)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_exif_as_cameras_write_it_is_taken(form: str) -> None:
    told = Image.Exif()
    told[ORIENTATION] = 6
    told[EXIF] = {36867: "2024:02:03 04:05:06", MAKER_NOTE: bytes(30_000), INTEROP: {1: "R98"}}
    told[GPS] = {1: "N", 2: (51.0, 28.0, 38.0)}
    assert decode(with_exif(form, told.tobytes()), LIMITS).values.shape == (7, 5, 3)


def nested(tags: Callable[[int], Tags], inner: Tags, big: bool = False) -> bytes:
    """The tags of a TIFF, made of where a directory within lies, and that."""
    head = b"II" + (struct.pack("<HHHQ", 43, 8, 0, 16) if big else struct.pack("<HL", 42, 8))
    at = len(head) + len(directory(tags(0), len(head), "<", big))
    return head + directory(tags(at), len(head), "<", big) + directory(inner, at, "<", big)


MANY: Tags = [(0x9000, SHORT, [0] * 10**6)]


@pytest.mark.parametrize("tag", [EXIF, GPS, INTEROP])
@pytest.mark.parametrize(
    ("kind", "big"), [(LONG, False), (IFD, False), (LONG8, False), (LONG, True), (LONG8, True)]
)
def test_numbers_in_directories_within_count_too(tag: int, kind: int, big: bool) -> None:
    data = nested(lambda at: [(256, SHORT, [8]), (tag, kind, [at])], MANY, big)
    with pytest.raises(InvalidRequest, match="numbers in its tags"):
        check_structure(data)


def test_a_place_is_read_by_its_type() -> None:
    """Here with what is no part of it behind it."""
    data = nested(lambda at: [(EXIF, LONG, [at, 1])], MANY, big=True)
    two, one = struct.pack("<HHQ", EXIF, LONG, 2), struct.pack("<HHQ", EXIF, LONG, 1)
    with pytest.raises(InvalidRequest, match="numbers in its tags"):
        check_structure(data.replace(two, one))


def test_of_places_of_one_directory_the_first_counts() -> None:
    """The others lead to zeros, which are a directory of nothing."""
    data = nested(lambda at: [(EXIF, LONG, [at + 1000 * each]) for each in range(6)], MANY)
    with pytest.raises(InvalidRequest, match="numbers in its tags"):
        check_structure(data)


@pytest.mark.parametrize(("kind", "count"), [(SHORT, 1), (BYTE, 4), (LONG, 2)])
def test_a_directory_whose_place_is_told_in_another_way_is_refused(kind: int, count: int) -> None:
    """Pillow may find one there."""
    data = nested(lambda at: [(EXIF, kind, [at] * count)], [])
    with pytest.raises(InvalidRequest, match="in no clear place"):
        check_structure(data)


def test_directories_within_each_other_without_end_are_refused() -> None:
    def chain(length: int) -> bytes:
        size = len(directory([(EXIF, LONG, [0])], 0, "<", big=False))
        links = [[(EXIF, LONG, [8 + size * (number + 1)])] for number in range(length - 1)]
        return b"II*\0\x08\0\0\0" + b"".join(
            directory(tags, 0, "<", big=False) for tags in (*links, [])
        )

    check_structure(chain(MOST_DIRECTORIES))
    with pytest.raises(InvalidRequest, match=f"directories of tags.*at most {MOST_DIRECTORIES}"):
        check_structure(chain(MOST_DIRECTORIES + 1))


def test_tags_that_lie_over_each_other_are_refused() -> None:
    """Each is copied, as opaque as it may be."""
    tags: Tags = [(tag, UNDEFINED, [0] * 1000) for tag in range(500, 540)]
    data = b"II*\0" + struct.pack("<L", 8) + directory(tags, 8, "<", big=False)
    check_structure(data)
    same, size = struct.pack("<HL", UNDEFINED, 1000), struct.pack("<HL", UNDEFINED, 30_000)
    with pytest.raises(InvalidRequest, match="tags of the image overlap"):
        check_structure(data.replace(same, size))


@pytest.mark.parametrize(("kind", "count"), [(0, 2**32 - 1), (99, 7), (SHORT, 2**31)])
def test_exif_that_is_damaged_where_nobody_looks_harms_no_photograph(kind: int, count: int) -> None:
    """Pillow passes over such tags, and so did cameras."""
    told = exif([(0x9000, SHORT, [7])])
    broken = told.replace(
        struct.pack(">HHL", 0x9000, SHORT, 1), struct.pack(">HHL", 0x9000, kind, count)
    )
    assert broken != told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says so.
        for form, head in (("PNG", b""), ("JPEG", b"Exif\0\0"), ("WEBP", b"")):
            assert decode(with_exif(form, head + broken), LIMITS).values.shape == (7, 5, 3)


def test_counting_the_parts_of_a_jpeg_takes_little_memory() -> None:
    data = b"\xff\xd8" + b"\xff" * 2**24
    tracemalloc.start()
    with suppress(InvalidRequest):
        check_structure(data)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < len(data)


def test_a_jpeg_whose_channels_have_a_scan_each_is_not_kept_as_it_is_decoded() -> None:
    """Its coefficients are kept, though it is not progressive."""
    data = progressive()
    assert has_part_scans(data, 3)
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    assert not has_part_scans(file.getvalue(), 3)
    assert header_of(file.getvalue(), LIMITS).plain


def test_what_follows_a_png_is_not_counted() -> None:
    check_structure(blank_png(5, 7) + bytes(12) * (MOST_CHUNKS + 1))


def test_a_png_of_chunks_without_end_is_refused() -> None:
    data = blank_png(5, 7)
    behind = png_chunk(b"prVt", b"") * MOST_CHUNKS
    assert "more than 65536 chunks" in refusal(data[:33] + behind + data[33:])


def test_a_png_of_two_colour_profiles_is_refused() -> None:
    """Each may be unpacked to a megabyte."""
    profile = png_chunk(b"iCCP", b"a\0\0" + b"x" * 10)
    data = png_header(5, 7, 8, GREY) + profile * 2 + png_chunk(b"IEND", b"")
    assert "2 colour profiles" in refusal(data)


@pytest.mark.parametrize(
    "data", [b"II*\0", b"MM\0*\0\0", b"\x89PNG", b"\xff\xd8", b"II+\0" + b"\0" * 9]
)
def test_a_file_that_ends_in_its_header_is_left_to_the_decoder(data: bytes) -> None:
    check_structure(data)
    assert "not an image" in refusal(data) or "damaged" in refusal(data)
