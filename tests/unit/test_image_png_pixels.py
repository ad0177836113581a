"""A PNG without all of its pixels, or without their colours, is refused."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from salience_service.errors import InvalidRequest
from salience_service.image.decode import decode
from salience_service.image.pixels import ImageLimits
from tests.support.image_files import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    PALETTE,
    png_chunk,
    png_header,
)

LIMITS = ImageLimits()
RNG = np.random.default_rng(11)
NOISE = RNG.integers(0, 256, (240, 31, 3), dtype=np.uint8)
FORMS = [(1, GREY, 5), (4, GREY, 16), (8, GREY, 31), (8, COLOUR, 93), (8, COLOUR_ALPHA, 124)]
"""Bits, colour type, and bytes of a row of 31 or 37 pixels."""
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1)]  # fmt: skip


def rows_of(values: NDArray[np.uint8]) -> bytes:
    """Rows [H, bytes], each with the filter that leaves it as it is."""
    return b"".join(b"\0" + row.tobytes() for row in values)


def file_of(header: bytes, rows: bytes, palette: bytes | None = None) -> bytes:
    colours = b"" if palette is None else png_chunk(b"PLTE", palette)
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return header + colours + pixels + png_chunk(b"IEND", b"")


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        decode(data, LIMITS)
    return str(refused.value)


@pytest.mark.parametrize("value", [0, 200, None], ids=["black", "grey", "noise"])
@pytest.mark.parametrize(("bits", "colour_type", "row_bytes"), FORMS)
def test_a_png_of_fewer_rows_than_its_header_says_is_refused(
    bits: int, colour_type: int, row_bytes: int, value: int | None
) -> None:
    shape = (240, row_bytes)
    values = RNG.integers(1, 256, shape) if value is None else np.full(shape, value)
    width = 31 if bits != 1 else 37
    header = png_header(240, width, bits, colour_type)
    rows = rows_of(values.astype(np.uint8))

    assert decode(file_of(header, rows), LIMITS).values.shape[:2] == (240, width)
    for held in (100 * (row_bytes + 1), len(rows) - row_bytes - 1):
        assert f"holds {held} of the {len(rows)} bytes" in refusal(file_of(header, rows[:held]))
    for held in (0, len(rows) - 1):
        assert "damaged" in refusal(file_of(header, rows[:held]))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 1), (4, 4), (7, 5), (9, 17)])
def test_an_interlaced_png_is_refused_unless_all_its_passes_are_whole(
    height: int, width: int
) -> None:
    values = NOISE[:height, :width]
    passes = [values[top::down, left::across] for top, left, down, across in ADAM7]
    parts = [rows_of(each.reshape(len(each), -1)) for each in passes if each.size]
    rows, header = b"".join(parts), png_header(height, width, 8, COLOUR, interlaced=True)

    np.testing.assert_array_equal(decode(file_of(header, rows), LIMITS).values, values)
    for held in np.cumsum([len(part) for part in parts])[:-1]:
        assert f"holds {held} of the {len(rows)} bytes" in refusal(file_of(header, rows[:held]))
    assert "damaged" in refusal(file_of(header, rows[:-1]))


def test_a_png_of_more_rows_than_its_header_says_is_read_in_little_memory() -> None:
    data = file_of(png_header(2, 3, 8, GREY), bytes(2**25))
    tracemalloc.start()
    assert not decode(data, LIMITS).values.any()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2**22


def test_a_png_in_many_chunks_is_read_through_all_of_them() -> None:
    rows = zlib.compress(rows_of(np.zeros((240, 31), np.uint8)))
    pieces = b"".join(png_chunk(b"IDAT", rows[at : at + 5]) for at in range(0, len(rows), 5))
    data = png_header(240, 31, 8, GREY) + png_chunk(b"IDAT", b"") + pieces
    assert decode(data + png_chunk(b"IEND", b""), LIMITS).values.shape == (240, 31, 1)


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("palette", [None, b""])
def test_a_png_of_a_palette_that_is_missing_is_refused(bits: int, palette: bytes | None) -> None:
    data = file_of(png_header(3, 8, bits, PALETTE), rows_of(NOISE[:3, :bits, 0]), palette)
    assert "palette of 0 colours" in refusal(data)


def test_a_png_with_a_pixel_beyond_its_palette_is_refused() -> None:
    header, rows = png_header(1, 4, 8, PALETTE), rows_of(np.array([[0, 2, 1, 2]], np.uint8))
    colours = bytes(range(10, 19))
    whole = decode(file_of(header, rows, colours), LIMITS).values
    np.testing.assert_array_equal(whole[0, 1], [16, 17, 18])
    said = "pixels of colour 2 and a palette of 2 colours"
    assert said in refusal(file_of(header, rows, colours[:8]))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_black_png_is_taken(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (9, 5)).save(file, "PNG")
    assert not decode(file.getvalue(), LIMITS).values.any()
