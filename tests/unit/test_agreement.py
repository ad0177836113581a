"""The estimated agreement of a growing map with its end: against truth, at its ends, and flat."""

import numpy as np
import pytest

from salience_service.methods.rows.agreement import (
    agreement_by_growth,
    agreement_of_halves,
    correlation,
)


def rows(count: int, noise: float, seed: int) -> np.ndarray:
    """Contributions [count, 64, 64]: one signal, and noise of each row's own."""
    random = np.random.default_rng(seed)
    signal = random.standard_normal((64, 64), np.float32)
    return signal + np.float32(noise) * random.standard_normal((count, 64, 64), np.float32)


@pytest.mark.parametrize("noise", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("done", [16, 64, 224])
def test_the_estimate_meets_the_true_correlation_of_rows_at_random(done: int, noise: float) -> None:
    estimated, true = [], []
    for seed in range(4):
        added = rows(256, noise, seed)
        halves = [added[start:done:2].sum(axis=0) for start in (0, 1)]
        estimated.append(agreement_of_halves(*halves, done / 256))
        true.append(np.corrcoef(added[:done].sum(axis=0).ravel(), added.sum(axis=0).ravel())[0, 1])
    assert np.mean(estimated) == pytest.approx(np.mean(true), abs=0.03)  # Of the pixels' chance.


def test_with_all_rows_done_it_is_exactly_one_however_noisy() -> None:
    one, other = rows(2, 100.0, 1)
    assert agreement_of_halves(one, other, 1.0) == agreement_of_halves(one, -one, 1.0) == 1.0


def test_halves_that_say_the_opposite_leave_the_share_of_rows_that_are_done() -> None:
    one = np.eye(3, dtype=np.float32)
    assert agreement_of_halves(one, -one, 0.25) == 0.5
    assert agreement_of_halves(one, np.zeros_like(one), 0.25) == 0.5


def test_by_growth_the_angle_to_come_is_what_is_left_of_the_angle_passed() -> None:
    one, other = rows(2, 0.3, 5)
    cosine = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    for left in (0.1, 1.0, 7.0):
        expected = np.cos(np.arctan(left * np.tan(np.arccos(cosine))))
        assert agreement_by_growth(one, other, left) == pytest.approx(expected, abs=1e-6)


def test_by_growth_a_map_with_nothing_left_is_the_finished_one() -> None:
    one = np.eye(3, dtype=np.float32)
    assert agreement_by_growth(one, -one, 0.0) == 1.0


def test_by_growth_a_map_that_turned_round_or_has_no_past_promises_nothing() -> None:
    one = np.eye(3, dtype=np.float32)
    assert agreement_by_growth(one, -one, 0.01) == 0.0
    assert agreement_by_growth(np.zeros_like(one), one, 0.01) == 0.0
    assert agreement_by_growth(one, one, np.inf) == 0.0


def test_halves_that_are_one_map_agree_with_the_end() -> None:
    one = np.eye(3, dtype=np.float32)
    assert agreement_of_halves(one, 7 * one + 3, 0.1) == pytest.approx(1, abs=1e-6)


def test_correlation_is_pearsons_and_zero_for_a_flat_map() -> None:
    one, other = rows(2, 1.0, 3)
    expected = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert correlation(one, other) == pytest.approx(expected, abs=1e-6)
    assert correlation(one, np.full_like(one, 2)) == 0.0
