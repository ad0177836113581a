"""Boxes around what a map points at, against component after component in float64."""

import io

import numpy as np
import pytest
from PIL import Image

from salience_service.bundle.manifest import ResizeRule
from salience_service.errors import InvalidRequest
from salience_service.image.fit import fit
from salience_service.image.pixels import ImageLimits
from salience_service.image.placement import Placement, Rectangle
from salience_service.image.prepare import prepare
from salience_service.methods.probe import Outcome
from salience_service.request import BoxOrder, EncodedImage
from salience_service.scores.box import box_of, check_box
from tests.oracle.box import largest_box
from tests.support.contracts import contract

MEAN = BoxOrder()


def blobs(seed: int, shape: tuple[int, int] = (7, 7)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same_grid(height: int, width: int) -> Placement:
    return Placement(height, width, height, width, 0, 0, 1, 1)


def edges(box: Rectangle | None) -> tuple[float, ...]:
    assert box is not None
    return box.left, box.top, box.width, box.height


@pytest.mark.parametrize("shape", [(100, 150), (333, 257), (31, 97), (5, 9), (601, 600)])
@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("threshold", [None, 0.0, 0.5, 0.9])
def test_the_box_is_where_brute_force_finds_it(
    shape: tuple[int, int], rule: ResizeRule, threshold: float | None
) -> None:
    wanted = contract(rule, (24, 32), short_side=36)
    plan = fit(*shape, wanted)
    rows, columns = (
        (shape[0], plan.height, 24, plan.top),
        (shape[1], plan.width, 32, plan.left),
    )
    for seed in range(3):
        saliency = blobs(seed, (5, 6))
        found = box_of(Outcome(saliency), plan.placement(shape, wanted), BoxOrder(threshold))
        assert edges(found) == largest_box(saliency, rows, columns, threshold)


def test_3000_by_2000_pixels_have_the_box_within_the_crop_that_was_seen() -> None:
    """2000×3000 (rows × columns) to 256×384, of which the middle 224×224 is seen."""
    plan = fit(2000, 3000, contract())
    placement = plan.placement((2000, 3000), contract())
    for seed in range(2):
        found = box_of(Outcome(blobs(seed)), placement, MEAN)
        assert edges(found) == largest_box(blobs(seed), (2000, 256, 224, 16), (3000, 384, 224, 80))
        left, top, width, height = edges(found)
        assert 625 <= left < left + width <= 2375
        assert 125 <= top < top + height <= 1875


@pytest.mark.parametrize(
    ("orientation", "place"),
    [(1, (0, 0)), (3, (4, 6)), (6, (0, 4)), (8, (6, 0))],
)
def test_a_turned_photograph_has_its_box_where_the_upright_one_shows_it(
    orientation: int, place: tuple[int, int]
) -> None:
    """The camera's top-left corner is bright; upright it lies where EXIF turns it."""
    pixels = np.zeros((50, 70, 3), np.uint8)
    pixels[:10, :10] = 255
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    rule = contract(ResizeRule.STRETCH, (35, 35))
    prepared = prepare(EncodedImage(file.getvalue()), rule, ImageLimits())
    found = box_of(Outcome(prepared.tensor[0]), prepared.placement, BoxOrder(0.5))
    left, top, width, height = edges(found)
    assert (round(top / 10), round(left / 10)) == place
    assert (round(height / 10), round(width / 10)) == (1, 1)


def test_a_map_of_its_own_grid_has_exactly_its_largest_part() -> None:
    saliency = np.float32([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert edges(box_of(Outcome(saliency), same_grid(4, 4), MEAN)) == (2, 1, 2, 2)


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    saliency = np.float32([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]])
    assert edges(box_of(Outcome(saliency), same_grid(3, 5), MEAN)) == (0, 0, 3, 3)


def test_of_two_parts_of_one_size_the_first_has_the_box() -> None:
    saliency = np.float32([[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert edges(box_of(Outcome(saliency), same_grid(3, 3), MEAN)) == (2, 0, 1, 1)


def test_a_higher_threshold_never_gives_a_larger_part() -> None:
    saliency = np.float32([[0, 1, 2, 3, 4, 3, 2, 1, 0]])
    widths = [
        edges(box_of(Outcome(saliency), same_grid(1, 9), BoxOrder(share)))[2]
        for share in (0.0, 0.25, 0.5, 0.75, 0.999)
    ]
    assert widths == [7, 5, 3, 1, 1]


def test_a_threshold_next_to_one_still_has_the_greatest_pixel() -> None:
    share = np.nextafter(1.0, 0.0)
    for seed in range(20):
        assert box_of(Outcome(blobs(seed)), same_grid(7, 7), BoxOrder(float(share)))


def test_a_signed_map_points_at_its_positive_part() -> None:
    saliency = np.float32([[-9, -9, -9], [-9, 0.5, 2], [-9, -9, 0]])
    found = box_of(Outcome(saliency, signed=True), same_grid(3, 3), BoxOrder(0.0))
    assert edges(found) == (1, 1, 2, 1)
    assert edges(box_of(Outcome(saliency, signed=True), same_grid(3, 3), MEAN)) == (1, 1, 2, 1)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(np.zeros((4, 4), np.float32)),
        Outcome(np.full((4, 4), 0.1, np.float32)),
        Outcome(np.float32([[-1, -2], [-3, -4]]), signed=True),
    ],
)
@pytest.mark.parametrize("wanted", [MEAN, BoxOrder(0.5)])
def test_a_map_that_points_at_nothing_has_no_box(outcome: Outcome, wanted: BoxOrder) -> None:
    placement = fit(333, 257, contract()).placement((333, 257), contract())
    assert box_of(outcome, placement, wanted) is None


def test_an_image_of_one_pixel_has_no_box() -> None:
    placement = fit(1, 1, contract()).placement((1, 1), contract())
    assert box_of(Outcome(blobs(0)), placement, MEAN) is None


@pytest.mark.parametrize("threshold", [None, 0.0, 0.5, 0.999])
def test_a_threshold_below_one_is_taken(threshold: float | None) -> None:
    check_box(BoxOrder(threshold))


@pytest.mark.parametrize("threshold", [-0.001, 1.0, 50.0, float("nan"), float("inf")])
def test_a_threshold_that_no_pixel_can_exceed_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to less than 1"):
        check_box(BoxOrder(threshold))
