"""What counts as alike, exactly; and that what is remembered is bounded."""

import numpy as np
import pytest

from salience_service.bundle.manifest import OutputKind
from salience_service.events import GradientSide
from salience_service.explanation.known import MOST_BYTES, MOST_GRADIENTS, Alike, Known
from salience_service.methods.probe import GradientAnswer, Gradients, PixelRows, RowProbe, Rows
from salience_service.row_graphs.sources import MaskedImage
from tests.support.answering import class_target

CLEAN = np.ones((3, 4, 4), np.float32)
IMAGE = MaskedImage.over(CLEAN, np.zeros_like(CLEAN))
OTHER_FILL = MaskedImage.over(CLEAN, np.full_like(CLEAN, 0.5))
SLOPE = np.arange(4, dtype=np.float32).reshape(2, 2)
ZERO, FLAT, HIGH = (np.full((2, 2), height, np.float32) for height in (0, 1, 7))


def alike_of(rows: Rows, image: MaskedImage = IMAGE, memory: Known | None = None) -> Alike:
    found = (memory or Known(CLEAN, keeps=True)).alike(rows, image)
    assert found is not None
    return found


def maps(*each: np.ndarray) -> np.ndarray:
    return np.stack(each)


def test_identical_maps_run_once() -> None:
    alike = alike_of(Rows(maps(SLOPE, 2 * SLOPE, SLOPE, SLOPE)))
    assert alike.fresh.tolist() == [0, 1]
    assert alike.place.tolist() == [0, 1, 0, 0]
    assert alike.repeated == 2


def test_flat_maps_of_any_height_run_once_where_they_are_min_maxed() -> None:
    alike = alike_of(Rows(maps(FLAT, SLOPE, HIGH, ZERO)))
    assert (alike.fresh.tolist(), alike.place.tolist()) == ([0, 1], [0, 1, 0, 0])


def test_flat_maps_of_different_heights_all_run_where_they_are_taken_as_they_are() -> None:
    alike = alike_of(Rows(maps(FLAT, HIGH, ZERO, HIGH), normalise=False))
    assert (alike.fresh.tolist(), alike.place.tolist()) == ([0, 1, 2], [0, 1, 2, 1])


def test_maps_that_differ_in_their_last_bit_both_run() -> None:
    nearly = SLOPE.copy()
    nearly[0, 0] = np.nextafter(np.float32(0), np.float32(1))
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
    memory.keep_rows(alike_of(Rows(maps(SLOPE, FLAT, 2 * SLOPE)), memory=memory), logits)
    again = alike_of(Rows(maps(3 * SLOPE, HIGH, SLOPE)), memory=memory)
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
