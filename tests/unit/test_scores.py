"""AD, AI and AG against sixty digits, at the ends of probability, and their inequalities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods.probe import Outcome
from salience_service.request import ScoreKind
from salience_service.scores.faithfulness import faithfulness, masked_rows, refuse_unscorable
from salience_service.targets.target import Target, TargetKind
from tests.oracle.faithfulness import faithfulness as oracle
from tests.oracle.faithfulness import sigmoid_probability
from tests.support.answering import class_target

KINDS = (ScoreKind.AVERAGE_DROP, ScoreKind.AVERAGE_INCREASE, ScoreKind.AVERAGE_GAIN)


def scored(target: Target, clean, masked) -> tuple[float, ...]:
    clean, masked = np.asarray(clean, np.float32), np.asarray(masked, np.float32)
    result = faithfulness(KINDS, target, clean, masked)
    return tuple(result.scores[kind] for kind in KINDS)


logits = st.lists(st.floats(-60, 60, width=32), min_size=3, max_size=3)


@given(logits, logits)
def test_scores_equal_sixty_digits_even_where_p_is_one(clean, masked) -> None:
    drop, increase, gain = scored(class_target(1), clean, masked)
    exact_drop, exact_increase, exact_gain = oracle(clean, masked, 1)
    assert math.isclose(drop, exact_drop, rel_tol=1e-6, abs_tol=1e-9)
    assert math.isclose(gain, exact_gain, rel_tol=1e-6, abs_tol=1e-9)
    if max(exact_drop, exact_gain) > 1e-9:  # below it float64 may see a tie
        assert increase == exact_increase


@given(st.floats(-60, 60, width=32), st.floats(-60, 60, width=32))
def test_sigmoid_scores_equal_sixty_digits(clean, masked) -> None:
    found = scored(class_target(0, OutputKind.SIGMOID), [clean], [masked])
    for value, exact in zip(found, oracle([clean], [masked], 0, sigmoid_probability), strict=True):
        assert math.isclose(value, exact, rel_tol=1e-6, abs_tol=1e-9)


wild = st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=3, max_size=3)


@given(wild, wild, st.sampled_from([OutputKind.SOFTMAX, OutputKind.SIGMOID]))
def test_gain_never_exceeds_increase_nor_drop_the_rest(clean, masked, output) -> None:
    drop, increase, gain = scored(class_target(1, output), clean, masked)
    assert 0 <= gain <= increase <= 100
    assert 0 <= drop <= 100 - increase


def test_p_of_one_and_of_zero_give_numbers() -> None:
    certain, impossible, even = [2000.0, 0.0], [-2000.0, 0.0], [0.0, 0.0]
    assert scored(class_target(0), certain, certain) == (0, 0, 0)
    assert scored(class_target(0), certain, impossible) == (100, 0, 0)
    assert scored(class_target(0), impossible, even) == (0, 100, 50)
    assert scored(class_target(0), impossible, impossible) == (0, 0, 0)
    assert scored(class_target(0), even, even) == (0, 0, 0)


def test_an_absent_finding_is_scored_by_the_probability_of_its_absence() -> None:
    absent = Target("not", TargetKind.ABSENT, 0, OutputKind.SIGMOID)
    drop, increase, gain = scored(absent, [0.0], [math.log(3)])
    assert (drop, increase, gain) == (pytest.approx(50), 0, 0)


def test_only_the_scores_asked_for_are_given_with_their_probabilities() -> None:
    clean, masked = np.zeros(2, np.float32), np.float32([math.log(3), 0])
    result = faithfulness([ScoreKind.AVERAGE_GAIN], class_target(0), clean, masked)
    assert list(result.scores) == [ScoreKind.AVERAGE_GAIN]
    assert result.scores[ScoreKind.AVERAGE_GAIN] == pytest.approx(50)
    assert result.clean_probability == pytest.approx(0.5)
    assert result.masked_probability == pytest.approx(0.75)


def test_a_regression_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="scores ad, ai, ag need a probability"):
        scored(class_target(0, OutputKind.REGRESSION), [1.0], [2.0])
    refuse_unscorable((), OutputKind.REGRESSION)
    refuse_unscorable(KINDS, OutputKind.SIGMOID)


def test_a_probability_that_is_not_a_number_is_an_error_and_no_score() -> None:
    with pytest.raises(NotPossible, match="NaN"):
        scored(class_target(0, OutputKind.SIGMOID), [1.0], [math.nan])


def test_a_map_is_scored_by_one_row_with_its_min_max_as_mask() -> None:
    image_map = np.float32([[-1, 0], [2, 3]])
    rows = masked_rows([Outcome(image_map)])
    assert np.array_equal(rows.maps, image_map[None])
    assert (rows.normalise, rows.scale, rows.shift) == (True, 1, 0)


def test_a_signed_map_is_scored_by_its_positive_part() -> None:
    rows = masked_rows([Outcome(np.float32([[-1, 0], [2, 3]]), signed=True)])
    assert np.array_equal(rows.maps, np.float32([[[0, 0], [2, 3]]]))
