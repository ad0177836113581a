"""The order of promise: what varies most first, shared by all who have the same features."""

import numpy as np
import pytest

from salience_service.methods.rows.promise import Promising

FLAT = np.full((2, 2), 9, np.float32)
SLOPE = np.arange(4, dtype=np.float32).reshape(2, 2)
FEATURES = np.stack([FLAT, SLOPE, 3 * SLOPE, -SLOPE, 2 * SLOPE])


def test_maps_come_from_the_one_that_varies_most_to_flat_ones_and_equal_ones_as_they_were() -> None:
    series = Promising(FEATURES)
    assert series.order.tolist() == [2, 4, 1, 3, 0]
    assert series.shape == FEATURES.shape
    np.testing.assert_array_equal(series[1:4], FEATURES[[4, 1, 3]])


def test_series_are_equal_where_they_have_the_same_array() -> None:
    assert Promising(FEATURES) == Promising(FEATURES)
    assert Promising(FEATURES) != Promising(FEATURES.copy())
    assert Promising(FEATURES) != FEATURES.tolist()


def test_scores_go_back_to_their_channels_and_the_others_get_the_mean() -> None:
    completed = Promising(FEATURES).completed(np.array([5.0, 1.0]))
    assert completed.tolist() == [3.0, 3.0, 5.0, 3.0, 1.0]
    whole = Promising(FEATURES).completed(np.arange(5.0))
    assert whole.tolist() == [4.0, 2.0, 0.0, 3.0, 1.0]


@pytest.mark.parametrize(
    ("done", "left"),
    [(1, np.inf), (2, 2 / 4), (3, 1 / 1), (4, 0.0), (5, 0.0)],  # Variances 9, 4, 1, 1, 0.
)
def test_what_is_left_is_told_by_variances(done: int, left: float) -> None:
    assert Promising(FEATURES).left(done) == pytest.approx(left)


def test_flat_channels_alone_leave_nothing() -> None:
    assert Promising(np.stack([FLAT, FLAT])).left(1) == 0.0
