"""The client draws maps over the photograph that the server explained, to the pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from salience_client import letterboxed, overlay
from salience_service.bundle.manifest import ResizeRule
from salience_service.image.decode import decode
from salience_service.image.fit import fit
from salience_service.image.pixels import ImageLimits
from tests.support.contracts import contract
from tests.support.image_files import GREY, png16, tiff, turned_by_xmp, with_exif_text

RNG = np.random.default_rng(0)
GREYS12 = RNG.integers(0, 4096, (12, 18), dtype=np.uint16)
GREYS16 = RNG.integers(0, 65536, (12, 18), dtype=np.uint16)
SHARES = RNG.random((12, 18), dtype=np.float32)
SIDES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@pytest.mark.parametrize(
    "file",
    [
        png16(GREYS16[:, :, None], GREY),
        tiff(GREYS16),
        tiff(GREYS16, white_is_zero=True),
        tiff(GREYS16, white_is_zero=True, orientation=6),
        tiff(GREYS12, bits=12),
        tiff(SHARES),
        tiff(SHARES, white_is_zero=True),
    ],
    ids=["png", "tiff", "white-is-zero", "turned", "12-bit", "float", "float-white-is-zero"],
)
def test_grey_of_over_8_bits_is_drawn_as_the_server_reads_it(file: bytes) -> None:
    read = decode(file, ImageLimits()).shown()

    drawn = overlay(file, np.zeros(read.shape[:2]), 0)

    np.testing.assert_array_equal(drawn, np.repeat(read, 3, axis=2))


@pytest.mark.parametrize("tags", [None, {271: "a maker"}, {274: 3}])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_photograph_is_turned_by_its_exif_alone(
    form: str, tags: dict[int, object] | None
) -> None:
    exif = Image.Exif()
    exif.update(tags or {})
    colours = RNG.integers(0, 256, (12, 18, 3), dtype=np.uint8)
    file = turned_by_xmp(colours, form, exif if tags else None)

    drawn = overlay(file, np.zeros((12, 18)), 0)

    np.testing.assert_array_equal(drawn, decode(file, ImageLimits()).shown())


def test_exif_that_a_png_keeps_as_text_turns_what_is_drawn_on_too() -> None:
    exif = Image.Exif()
    exif[274] = 3
    colours = RNG.integers(0, 256, (12, 18, 3), dtype=np.uint8)
    file = with_exif_text(turned_by_xmp(colours, "PNG"), exif.tobytes())

    drawn = overlay(file, np.zeros((12, 18)), 0)

    np.testing.assert_array_equal(drawn, colours[::-1, ::-1])
    np.testing.assert_array_equal(drawn, decode(file, ImageLimits()).shown())


@given(image=SIDES, frame=SIDES)
def test_the_bars_of_a_letterbox_are_where_the_server_has_them(
    image: tuple[int, int], frame: tuple[int, int]
) -> None:
    plan = fit(*image, contract(ResizeRule.PAD, frame))
    white = np.zeros(frame, bool)
    white[-plan.top :, -plan.left :][: plan.height, : plan.width] = True

    drawn = letterboxed(np.full((*image, 3), 255, np.uint8), *frame[::-1])

    np.testing.assert_array_equal(drawn == 255, np.repeat(white[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(drawn == 0, ~np.repeat(white[:, :, None], 3, axis=2))
