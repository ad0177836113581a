"""Insertion and deletion: masks, backdrops and areas against a loop written from the papers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salience_service.bundle.manifest import OutputKind, ResizeRule
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.events import ScoreCurve
from salience_service.interpolation import upsample
from salience_service.methods.probe import Outcome
from salience_service.request import CurveProtocol, ScoreKind
from salience_service.scores.backdrops import backdrop, check_backdrop
from salience_service.scores.curves import areas, curve, curve_row_count, curve_rows, curved
from salience_service.targets.target import Target, TargetKind
from tests.oracle import insertion_deletion as oracle
from tests.support.answering import Scene, class_target, hear, pyramid
from tests.support.contracts import contract

INSERTION, DELETION = ScoreKind.INSERTION, ScoreKind.DELETION
DIFFERENCE = ScoreKind.INSERTION_DELETION
ALL = (INSERTION, DELETION, DIFFERENCE)
SIZE = (54, 42)
CONTRACT = contract(ResizeRule.STRETCH, SIZE)
CLASS = 1
FLAT = Outcome(np.full((7, 5), 0.1, np.float32))

ramp = np.random.default_rng(3).normal(size=(7, 5)).astype(np.float32)


def asked(rows):
    answer = yield rows
    return answer.logits


def measured(outcome: Outcome, target: Target, protocol: CurveProtocol) -> dict:
    """The curves of a map on the small network, and the scores taken of them."""
    scene, found = Scene.of(pyramid()), []
    for kind, rows in curve_rows(ALL, outcome, SIZE).items():
        behind = torch.from_numpy(backdrop(protocol, kind, scene.image.numpy(), CONTRACT).copy())
        masked = Scene(scene.network, scene.image, behind)
        logits = hear(asked(rows), masked, target).outcome
        found.append(curve(kind, target, logits))
    return {"curves": found, **areas(ALL, found, protocol)}


@pytest.mark.parametrize("protocol", CurveProtocol)
@pytest.mark.parametrize("signed", [False, True])
def test_curves_and_areas_equal_a_loop_over_the_images(
    protocol: CurveProtocol, signed: bool
) -> None:
    target = class_target(CLASS)
    found = measured(Outcome(ramp, signed), target, protocol)
    scene = Scene.of(pyramid()).double()
    wanted = oracle.curves(
        scene.network,
        scene.image,
        upsample(ramp, *SIZE),
        lambda logits: torch.softmax(logits, 0)[CLASS],
        protocol.value,
    )
    for each in found["curves"]:
        expected = wanted[each.kind.value]
        np.testing.assert_allclose(each.probabilities, expected, atol=2e-5)
        np.testing.assert_allclose(each.shares, np.arange(55) / 54)
        area = oracle.area(expected, protocol.value)
        assert found[each.kind] == pytest.approx(area, abs=2e-5)
    assert found[DIFFERENCE] == found[INSERTION] - found[DELETION]


@pytest.mark.parametrize("protocol", CurveProtocol)
def test_the_curves_span_something_so_that_their_equality_means_something(
    protocol: CurveProtocol,
) -> None:
    for each in measured(Outcome(ramp), class_target(CLASS), protocol)["curves"]:
        assert np.ptp(each.probabilities) > 0.3


@pytest.mark.parametrize("kind", [INSERTION, DELETION])
@pytest.mark.parametrize("protocol", CurveProtocol)
def test_what_stands_behind_a_curve_is_what_the_published_code_puts_there(
    protocol: CurveProtocol, kind: ScoreKind
) -> None:
    image = Scene.of(pyramid()).image
    found = backdrop(protocol, kind, image.numpy(), CONTRACT)
    wanted = oracle.backdrops(image, protocol.value)[kind.value]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_rise_darkens_the_edges_of_what_it_inserts_into_and_polycam_does_not() -> None:
    grey = np.ones((3, *SIZE), np.float32)
    rise = backdrop(CurveProtocol.RISE, INSERTION, grey, CONTRACT)
    assert rise[0, 0, 0] < 0.4
    assert rise[0, 27, 21] == pytest.approx(1)
    polycam = backdrop(CurveProtocol.POLYCAM, INSERTION, grey, CONTRACT)
    np.testing.assert_allclose(polycam, 1, atol=1e-6)


def test_an_input_too_small_to_mirror_is_refused_where_it_must_be_mirrored() -> None:
    small = contract(ResizeRule.STRETCH, (5, 40))
    check_backdrop(CurveProtocol.RISE, INSERTION, small)
    check_backdrop(CurveProtocol.RISE, DELETION, small)
    with pytest.raises(InvalidRequest, match="too wide to mirror an input of 5 pixels"):
        check_backdrop(CurveProtocol.POLYCAM, DELETION, small)


def test_every_step_shows_a_row_of_pixels_more_the_most_salient_first() -> None:
    saliency = np.float32([[1, 5, 3], [6, 2, 4]])
    masks = curve_rows(ALL, Outcome(saliency), (2, 3))
    shown, hidden = masks[INSERTION].masks, masks[DELETION].masks
    assert shown.shape == hidden.shape == (3, 2, 3)
    half = [[0, 1, 0], [1, 0, 1]]
    np.testing.assert_array_equal(shown[0:3], [np.zeros((2, 3)), half, np.ones((2, 3))])
    np.testing.assert_array_equal(hidden[0:3], 1 - shown[0:3])
    assert shown[0:1].dtype == np.float32


@given(st.integers(0, 54), st.integers(0, 54))
def test_a_part_of_the_masks_is_what_the_whole_has_there(one: int, other: int) -> None:
    masks = curve_rows((INSERTION,), Outcome(ramp), SIZE)[INSERTION].masks
    start, stop = sorted((one, other + 1))
    np.testing.assert_array_equal(masks[start:stop], masks[0:55][start:stop])


def test_a_signed_map_is_ranked_by_value_so_that_evidence_against_comes_last() -> None:
    saliency = np.float32([[-9, 1], [0, 2]])
    shown = curve_rows((INSERTION,), Outcome(saliency, signed=True), (2, 2))[INSERTION].masks
    np.testing.assert_array_equal(shown[1:2], [[[0, 1], [0, 1]]])


@pytest.mark.parametrize("outcome", [FLAT, Outcome(np.zeros((7, 5), np.float32), signed=True)])
def test_a_flat_map_shows_the_image_from_the_top(outcome: Outcome) -> None:
    shown = curve_rows((INSERTION,), outcome, SIZE)[INSERTION].masks
    np.testing.assert_array_equal(shown[10:11][0], np.arange(54)[:, None] < 10 + np.zeros(42))


def test_a_flat_map_has_scores_that_are_numbers() -> None:
    found = measured(FLAT, class_target(0), CurveProtocol.RISE)
    assert 0 < found[INSERTION] < 1
    assert 0 < found[DELETION] < 1


def test_equal_pixels_are_ranked_by_their_place() -> None:
    saliency = np.float32([[1, 1, 0], [1, 0, 1]])
    shown = curve_rows((INSERTION,), Outcome(saliency), (2, 3))[INSERTION].masks
    np.testing.assert_array_equal(shown[1:2], [[[1, 1, 0], [1, 0, 0]]])


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        ((), ()),
        ((ScoreKind.AVERAGE_DROP,), ()),
        ((DELETION,), (DELETION,)),
        ((DELETION, INSERTION), (INSERTION, DELETION)),
        ((DIFFERENCE,), (INSERTION, DELETION)),
        ((ScoreKind.AVERAGE_GAIN, DIFFERENCE, DELETION), (INSERTION, DELETION)),
    ],
)
def test_only_the_curves_that_are_needed_are_taken(
    kinds: tuple[ScoreKind, ...], taken: tuple[ScoreKind, ...]
) -> None:
    assert curved(kinds) == taken
    assert tuple(curve_rows(kinds, Outcome(ramp), SIZE)) == taken
    assert curve_row_count(kinds, 224) == 225 * len(taken)


def test_a_map_of_which_no_curve_is_asked_is_not_ranked() -> None:
    """Ranking the pixels of 224×224 takes 2.7 ms, more than all else about a Grad-CAM's scores."""
    not_to_be_looked_at = Outcome(np.empty((0, 0), np.float32))
    with pytest.raises(IndexError):
        curve_rows((INSERTION,), not_to_be_looked_at, SIZE)
    assert curve_rows((ScoreKind.AVERAGE_DROP,), not_to_be_looked_at, SIZE) == {}


def test_only_the_scores_that_were_asked_for_are_given() -> None:
    curves = [ScoreCurve(kind, (0, 0.5, 1), (0.0, 0.5, 0.5)) for kind in (INSERTION, DELETION)]
    assert areas((DIFFERENCE, ScoreKind.AVERAGE_DROP), curves, CurveProtocol.RISE) == {
        DIFFERENCE: 0
    }
    assert areas((INSERTION,), curves, CurveProtocol.RISE) == {INSERTION: 0.375}
    assert areas((INSERTION,), curves, CurveProtocol.POLYCAM) == {INSERTION: 0.5}


def test_an_absent_finding_has_the_curve_of_its_absence() -> None:
    logits = np.float32([[0.0], [np.log(3)]])
    absent = Target("not", TargetKind.ABSENT, 0, OutputKind.SIGMOID)
    np.testing.assert_allclose(curve(INSERTION, absent, logits).probabilities, [0.5, 0.25])


def test_a_regression_has_no_curve() -> None:
    with pytest.raises(InvalidRequest, match="regression"):
        curve(INSERTION, class_target(0, OutputKind.REGRESSION), np.zeros((3, 1), np.float32))


def test_a_probability_that_is_not_a_number_is_an_error_and_no_curve() -> None:
    logits = np.float32([[0, 1], [np.nan, 1]])
    with pytest.raises(NotPossible, match="behind the deletion curve is NaN"):
        curve(DELETION, class_target(0), logits)
