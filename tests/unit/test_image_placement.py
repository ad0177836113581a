"""Maps find their way back to the pixels of the image that was sent."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from salience_service.bundle.manifest import ResizeRule
from salience_service.image.fit import fit
from salience_service.image.pixels import ImageLimits
from salience_service.image.placement import Placement
from salience_service.image.prepare import prepare
from salience_service.request import EncodedImage, PixelImage
from tests.oracle.geometry import axis_to_original, seen_pixels, seen_span
from tests.support.contracts import contract

LIMITS = ImageLimits()


def placed(height: int, width: int, **rule: object) -> Placement:
    wanted = contract(**rule)  # type: ignore[arg-type]
    return fit(height, width, wanted).placement((height, width), wanted)


def test_3000_by_2000_pixels_keep_their_cut_sides_out_exactly() -> None:
    """2000×3000 (rows × columns) to 256×384, of which the middle 224×224 is seen."""
    validity = placed(2000, 3000).validity()
    rows = seen_pixels(2000, resized=256, crop=224, offset=16)
    columns = seen_pixels(3000, resized=384, crop=224, offset=80)
    np.testing.assert_array_equal(validity, np.outer(rows, columns))
    assert validity.sum() == 1750 * 1750
    seen = placed(2000, 3000).seen()
    assert (seen.left, seen.top, seen.width, seen.height) == (625, 125, 1750, 1750)


def test_a_portrait_of_3000_by_2000_is_the_same_turned() -> None:
    np.testing.assert_array_equal(placed(3000, 2000).validity(), placed(2000, 3000).validity().T)


SHAPES = [(100, 150), (150, 100), (333, 257), (31, 97), (20, 20), (5, 9), (1, 1), (601, 600)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_fit_follows_torchvision(shape: tuple[int, int]) -> None:
    plan = fit(*shape, contract(size=(48, 40), short_side=56))
    short, long = min(shape), max(shape)
    sides = (56, 56 * long // short)
    assert (plan.height, plan.width) == (sides if shape[0] <= shape[1] else sides[::-1])
    assert (plan.top, plan.left) == (round((plan.height - 48) / 2), round((plan.width - 40) / 2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("grid", [(7, 7), (3, 5), (24, 32)])
def test_a_map_lands_where_brute_force_puts_it(
    shape: tuple[int, int], rule: ResizeRule, grid: tuple[int, int]
) -> None:
    wanted = contract(rule, (24, 32), short_side=36)
    plan = fit(*shape, wanted)
    rng = np.random.default_rng(1)
    down, across = rng.random(grid[0], dtype=np.float32), rng.random(grid[1], dtype=np.float32)
    rows = axis_to_original(down.tolist(), shape[0], plan.height, 24, plan.top)
    columns = axis_to_original(across.tolist(), shape[1], plan.width, 32, plan.left)
    got = plan.placement(shape, wanted).to_original(np.outer(down, across))
    np.testing.assert_allclose(got, np.outer(rows, columns), atol=2e-6)


@settings(max_examples=150)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    rule=st.sampled_from(ResizeRule),
    size=st.tuples(st.integers(8, 64), st.integers(8, 64)),
    margin=st.integers(-6, 30),
)
def test_validity_marks_the_pixels_whose_centre_was_seen(
    height: int, width: int, rule: ResizeRule, size: tuple[int, int], margin: int
) -> None:
    wanted = contract(rule, size, short_side=max(1, max(size) + margin))
    plan = fit(height, width, wanted)
    validity = plan.placement((height, width), wanted).validity()
    rows = seen_pixels(height, plan.height, size[0], plan.top)
    columns = seen_pixels(width, plan.width, size[1], plan.left)
    rows_tied = tied(height, plan.height, size[0], plan.top)
    columns_tied = tied(width, plan.width, size[1], plan.left)
    open_rows, open_columns = np.flatnonzero(~rows_tied), np.flatnonzero(~columns_tied)
    np.testing.assert_array_equal(
        validity[np.ix_(open_rows, open_columns)],
        np.outer(rows, columns)[np.ix_(open_rows, open_columns)],
    )


def tied(original: int, resized: int, crop: int, offset: int) -> np.ndarray:
    """Pixels whose centre lies exactly on an edge, where floats may fall either way."""
    edges = seen_span(original, resized, crop, offset)
    return np.array([Fraction(2 * i + 1, 2) in edges for i in range(original)])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", [ResizeRule.STRETCH, ResizeRule.PAD])
def test_nothing_is_hidden_where_nothing_is_cut(shape: tuple[int, int], rule: ResizeRule) -> None:
    placement = placed(*shape, rule=rule)
    assert placement.validity().all()
    seen = placement.seen()
    np.testing.assert_allclose(
        (seen.left, seen.top, seen.width, seen.height), (0, 0, shape[1], shape[0]), atol=1e-9
    )


def bright_spot(height: int, width: int, row: int, column: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    radius = min(height, width) / 12
    light = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * radius**2))
    return (light * 255).astype(np.uint8)


@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (60, 45), (500, 490)])
def test_a_bright_spot_in_the_models_input_is_found_again_in_the_original(
    shape: tuple[int, int], rule: ResizeRule
) -> None:
    """Through the real resize and crop, and back: the peak returns within a pixel or a step."""
    row, column = round(shape[0] * 0.45), round(shape[1] * 0.58)
    wanted = contract(rule, (96, 80), short_side=110)
    spot = bright_spot(*shape, row, column)
    prepared = prepare(PixelImage(np.stack([spot] * 3, -1), 255), wanted, LIMITS)
    back = prepared.placement.to_original(prepared.tensor.mean(0))
    back[~prepared.placement.validity()] = -np.inf
    peak = np.unravel_index(back.argmax(), back.shape)
    within = max(1.0, prepared.placement.row_step, prepared.placement.column_step)
    np.testing.assert_allclose(peak, (row, column), atol=within + 1)


def test_a_photograph_turned_by_exif_is_mapped_in_its_upright_frame() -> None:
    upright = bright_spot(400, 260, 150, 170)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(np.rot90(upright)).save(file, "PNG", exif=exif)
    prepared = prepare(EncodedImage(file.getvalue()), contract(), LIMITS)
    assert (prepared.placement.original_height, prepared.placement.original_width) == (400, 260)
    np.testing.assert_array_equal(prepared.original[:, :, 0], upright)
    back = prepared.placement.to_original(prepared.tensor.mean(0))
    np.testing.assert_allclose(np.unravel_index(back.argmax(), back.shape), (150, 170), atol=3)
