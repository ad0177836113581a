"""What counts as alike, exactly; and that what is remembered is bounded."""

import numpy as np
import pytest

from salience_service.bundle.manifest import OutputKind
from salience_service.events import GradientSide
from salience_service.explanation.known import (
    MOST_BYTES,
    MOST_GRADIENTS,
    MOST_SERIES,
    Alike,
    Known,
)
from salience_service.interpolation import unit_range, upsample
from salience_service.methods.probe import GradientAnswer, Gradients, PixelRows, RowProbe, Rows
from salience_service.methods.rows.noisy_masks import Noise, NoisyMasks
from salience_service.methods.rows.random_grids import RandomGrids
from salience_service.methods.rows.windows import Windows
from salience_service.row_graphs.sources import MaskedImage
from tests.support.answering import class_target

CLEAN = np.ones((3, 4, 4), np.float32)
IMAGE = MaskedImage.over(CLEAN, np.zeros_like(CLEAN))
OTHER_FILL = MaskedImage.over(CLEAN, np.full_like(CLEAN, 0.5))
SLOPE = np.arange(4, dtype=np.float32).reshape(2, 2)
OTHER = SLOPE**2
ZERO, FLAT, HIGH = (np.full((2, 2), height, np.float32) for height in (0, 1, 7))


def alike_of(rows: Rows, image: MaskedImage = IMAGE, memory: Known | None = None) -> Alike:
    found = (memory or Known(CLEAN, keeps=True)).alike(rows, image)
    assert found is not None
    return found


def maps(*each: np.ndarray) -> np.ndarray:
    return np.stack(each)


def test_identical_maps_run_once() -> None:
    alike = alike_of(Rows(maps(SLOPE, OTHER, SLOPE, SLOPE)))
    assert alike.fresh.tolist() == [0, 1]
    assert alike.place.tolist() == [0, 1, 0, 0]
    assert alike.repeated == 2


def test_flat_maps_of_any_height_run_once_where_they_are_min_maxed() -> None:
    alike = alike_of(Rows(maps(FLAT, SLOPE, HIGH, ZERO)))
    assert (alike.fresh.tolist(), alike.place.tolist()) == ([0, 1], [0, 1, 0, 0])


def test_flat_maps_of_different_heights_all_run_where_they_are_taken_as_they_are() -> None:
    alike = alike_of(Rows(maps(FLAT, HIGH, ZERO, HIGH), normalise=False))
    assert (alike.fresh.tolist(), alike.place.tolist()) == ([0, 1, 2], [0, 1, 2, 1])


@pytest.mark.parametrize(("normalise", "fresh"), [(True, [0, 4]), (False, [0, 1, 2, 3, 4])])
def test_maps_that_differ_in_height_and_scale_alone_run_once_where_they_are_min_maxed(
    normalise: bool, fresh: list[int]
) -> None:
    asked = Rows(maps(SLOPE, 2 * SLOPE, SLOPE + 3, SLOPE / 8 - 1, -SLOPE), normalise)
    assert alike_of(asked).fresh.tolist() == fresh


def test_maps_of_one_live_pixel_run_once_whatever_it_holds() -> None:
    """Behind a ReLU many channels are such; of no two need the numbers have a simple ratio."""
    live = np.random.default_rng(0).exponential(size=500).astype(np.float32)
    pixels = live[:, None, None] * np.float32([[0, 0], [1, 0]])
    assert alike_of(Rows(pixels)).fresh.tolist() == [0]


def test_maps_are_sent_from_0_to_1_where_they_are_min_maxed() -> None:
    steep = np.random.default_rng(0).normal(3, 50, (20, 7, 7)).astype(np.float32)
    sent = alike_of(Rows(steep)).maps
    assert sent.dtype == np.float32
    assert (sent.min((1, 2)) == 0).all()
    assert (sent.max((1, 2)) == 1).all()
    np.testing.assert_array_equal(alike_of(Rows(sent)).maps, sent)
    np.testing.assert_array_equal(alike_of(Rows(steep, normalise=False)).maps, steep)


@pytest.mark.parametrize("side", [2, 3, 7, 15, 64])
def test_masks_of_what_is_sent_are_those_of_what_was_asked(side: int) -> None:
    draw = np.random.default_rng(side)
    asked = draw.normal(draw.normal(0, 9, (30, 1, 1)), 1, (30, side, side)).astype(np.float32)
    lowered = asked - asked.min(axis=(1, 2), keepdims=True)  # As the graph does it.
    before, after = (
        unit_range(upsample(each, 64, 64)) for each in (lowered, alike_of(Rows(asked)).maps)
    )
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [0, 1e-7, 1e-6, 3e-5])
def test_maps_that_are_flat_or_nearly_so_are_sent_as_they_are(share: float) -> None:
    """Whether one is flat is judged once it is upsampled, which a full range would defeat."""
    nearly = (5 + 5 * np.float32(share) * (SLOPE / 3))[None]
    np.testing.assert_array_equal(alike_of(Rows(nearly)).maps, nearly)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_sent_as_they_are(odd: float) -> None:
    spoilt = SLOPE.copy()
    spoilt[0, 1] = odd
    widest = np.float32([[-3e38, 0], [1, 3e38]])  # Its range is beyond float32.
    asked = maps(SLOPE, spoilt, widest)
    np.testing.assert_array_equal(alike_of(Rows(asked)).maps, maps(SLOPE / 3, spoilt, widest))


def test_what_was_asked_is_not_written_to() -> None:
    asked = maps(SLOPE + 1, HIGH)
    alike_of(Rows(asked))
    np.testing.assert_array_equal(asked, maps(SLOPE + 1, HIGH))


def test_maps_that_differ_in_their_last_bit_both_run() -> None:
    nearly = SLOPE.copy()
    nearly[1, 0] = np.nextafter(nearly[1, 0], np.float32(3))
    assert alike_of(Rows(maps(SLOPE, nearly))).repeated == 0


def test_maps_of_the_same_numbers_but_another_shape_are_not_alike() -> None:
    memory = Known(CLEAN, keeps=True)
    memory.keep_rows(alike_of(Rows(SLOPE[None]), memory=memory), np.ones((1, 5), np.float32))
    assert alike_of(Rows(SLOPE.reshape(1, 1, 4)), memory=memory).repeated == 0


def test_masks_of_the_images_own_size_are_not_compared() -> None:
    assert Known(CLEAN, keeps=True).alike(PixelRows(np.ones((2, 4, 4), np.float32)), IMAGE) is None


@pytest.mark.parametrize(
    ("later", "image"),
    [
        (Rows(SLOPE[None], normalise=False), IMAGE),
        (Rows(SLOPE[None], scale=-1), IMAGE),
        (Rows(SLOPE[None], shift=1), IMAGE),
        (Rows(SLOPE[None]), OTHER_FILL),
    ],
)
def test_a_row_composed_another_way_is_not_known(later: Rows, image: MaskedImage) -> None:
    memory = Known(CLEAN, keeps=True)
    memory.keep_rows(alike_of(Rows(SLOPE[None]), memory=memory), np.ones((1, 5), np.float32))
    assert alike_of(later, image, memory).repeated == 0


def test_a_row_asked_for_again_is_known_with_its_logits() -> None:
    memory, logits = Known(CLEAN, keeps=True), np.arange(15, dtype=np.float32).reshape(3, 5)
    memory.keep_rows(alike_of(Rows(maps(SLOPE, FLAT, OTHER)), memory=memory), logits)
    again = alike_of(Rows(maps(-SLOPE, HIGH, SLOPE)), memory=memory)
    assert (again.fresh.tolist(), again.place.tolist()) == ([0], [0, -1, -1])
    np.testing.assert_array_equal(again.known[1], logits[1])
    np.testing.assert_array_equal(again.known[2], logits[0])


def test_one_that_does_not_keep_finds_repeats_within_a_question_but_not_later() -> None:
    memory = Known(CLEAN, keeps=False)
    first = alike_of(Rows(maps(SLOPE, SLOPE)), memory=memory)
    memory.keep_rows(first, np.ones((2, 5), np.float32))
    assert first.repeated == 1
    assert alike_of(Rows(SLOPE[None]), memory=memory).repeated == 0


def test_logits_are_kept_up_to_their_bound_and_no_further() -> None:
    memory, rows = Known(CLEAN, keeps=True), Rows(np.stack([SLOPE**p for p in (1, 2, 3, 4)]))
    logits = np.ones((4, MOST_BYTES // 4 // 3), np.float32)  # Three rows fill it.
    for _ in range(2):
        memory.keep_rows(alike_of(rows, memory=memory), logits)
        assert len(alike_of(rows, memory=memory).known) == 3


def grids(seed: int = 0, count: int = 6) -> PixelRows:
    return PixelRows(RandomGrids(count, 2, 0.5, seed, 4, 4))


LOGITS = np.arange(18, dtype=np.float32).reshape(6, 3)


def test_a_series_of_pixel_masks_that_was_answered_is_known_to_its_equals() -> None:
    memory = Known(CLEAN, keeps=True)
    windows = PixelRows(Windows(4, 4, 2, 1))
    memory.keep_series(grids(), IMAGE, LOGITS)
    memory.keep_series(windows, IMAGE, np.ones((9, 3), np.float32))
    np.testing.assert_array_equal(memory.series(grids(), IMAGE), LOGITS)
    assert len(memory.series(PixelRows(Windows(4, 4, 2, 1)), IMAGE)) == 9  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("later", "image"),
    [
        (grids(seed=1), IMAGE),
        (grids(count=5), IMAGE),
        (grids(), OTHER_FILL),
        (PixelRows(Windows(4, 4, 2, 1)), IMAGE),
        (Rows(SLOPE[None]), IMAGE),
    ],
)
def test_a_series_of_anything_else_is_not_known(later: RowProbe, image: MaskedImage) -> None:
    memory = Known(CLEAN, keeps=True)
    memory.keep_series(grids(), IMAGE, LOGITS)
    assert memory.series(later, image) is None


@pytest.mark.parametrize(
    ("asked", "logits"),
    [
        (grids(), LOGITS[:5]),  # It ended early.
        (PixelRows(np.ones((6, 4, 4), np.float32)), LOGITS),
        (PixelRows(NoisyMasks(np.ones((6, 2, 2), np.float32), 4, 4, Noise(1, 0, 0, True))), LOGITS),
        (grids(), np.ones((6, MOST_BYTES // 24 + 1), np.float32)),
    ],
)
def test_what_is_not_whole_or_has_no_equal_or_no_room_is_not_kept(
    asked: PixelRows, logits: np.ndarray
) -> None:
    memory = Known(CLEAN, keeps=True)
    memory.keep_series(asked, IMAGE, logits)
    assert memory.series(asked, IMAGE) is None


def test_series_are_kept_up_to_their_number_and_not_for_one_method_alone() -> None:
    many, alone = Known(CLEAN, keeps=True), Known(CLEAN, keeps=False)
    for seed in range(MOST_SERIES + 2):
        many.keep_series(grids(seed), IMAGE, LOGITS)
        alone.keep_series(grids(seed), IMAGE, LOGITS)
    known = [many.series(grids(seed), IMAGE) is not None for seed in range(MOST_SERIES + 2)]
    assert known == [True] * MOST_SERIES + [False] * 2
    assert alone.series(grids(), IMAGE) is None


def test_series_make_way_for_rows_of_maps() -> None:
    memory = Known(CLEAN, keeps=True)
    memory.keep_series(grids(), IMAGE, np.ones((6, MOST_BYTES // 24), np.float32))
    memory.keep_rows(alike_of(Rows(SLOPE[None]), memory=memory), np.ones((1, 5), np.float32))
    assert memory.series(grids(), IMAGE) is None
    assert alike_of(Rows(SLOPE[None]), memory=memory).repeated == 1
    memory.keep_series(grids(), IMAGE, LOGITS)  # There is room again.
    assert memory.series(grids(), IMAGE) is LOGITS


TARGET, SIDE = class_target(1), GradientSide.ONNX
ANSWER = GradientAnswer(1.0, None, {})


def test_a_gradient_asked_for_again_is_known() -> None:
    memory, asked = Known(CLEAN, keeps=True), Gradients(CLEAN, taps=("a", "b"))
    memory.keep_gradient(asked, TARGET, SIDE, ANSWER)
    assert memory.gradient(Gradients(CLEAN, taps=("b", "a")), TARGET, SIDE) is ANSWER


@pytest.mark.parametrize(
    ("asked", "target", "side"),
    [
        (Gradients(CLEAN, taps=("a",)), class_target(2), SIDE),
        (Gradients(CLEAN, taps=("a",)), class_target(1, OutputKind.SIGMOID), SIDE),
        (Gradients(CLEAN, taps=("a",)), TARGET, GradientSide.TORCH),
        (Gradients(CLEAN, taps=("b",)), TARGET, SIDE),
        (Gradients(CLEAN, taps=("a",), of_image=True), TARGET, SIDE),
        (Gradients(CLEAN, taps=("a",), guided=True), TARGET, SIDE),
        (Gradients(CLEAN + 0, taps=("a",)), TARGET, SIDE),
    ],
)
def test_a_gradient_of_anything_else_is_not_known(
    asked: Gradients, target: object, side: GradientSide
) -> None:
    memory = Known(CLEAN, keeps=True)
    memory.keep_gradient(Gradients(CLEAN, taps=("a",)), TARGET, SIDE, ANSWER)
    assert memory.gradient(asked, target, side) is None  # type: ignore[arg-type]


def test_gradients_of_another_image_are_never_kept() -> None:
    memory, noisy = Known(CLEAN, keeps=True), Gradients(CLEAN + 1, taps=("a",))
    memory.keep_gradient(noisy, TARGET, SIDE, ANSWER)
    assert memory.gradient(noisy, TARGET, SIDE) is None


def test_gradients_are_kept_up_to_their_number_and_no_further() -> None:
    memory = Known(CLEAN, keeps=True)
    targets = [class_target(index) for index in range(MOST_GRADIENTS + 3)]
    asked = Gradients(CLEAN, taps=("a",))
    for target in targets:
        memory.keep_gradient(asked, target, SIDE, ANSWER)
    kept = [target for target in targets if memory.gradient(asked, target, SIDE)]
    assert kept == targets[:MOST_GRADIENTS]


def test_the_probes_of_every_kind_of_rows_are_settled_as_alike_or_not() -> None:
    """A new kind of rows must say here whether its rows may be like others."""
    assert {each.__name__ for each in RowProbe.__subclasses__()} == {
        "Rows",
        "PixelRows",
        "ChannelRows",
    }
