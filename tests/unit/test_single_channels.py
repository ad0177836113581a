"""Rows of single channels: made when cut, alike however they are cut, none of a dead channel."""

import numpy as np
import pytest

from salience_service.methods.single_channels import AllButEach, EachAlone, among, shown_channels

ASKED = (0, 1, 3, 6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("series", [EachAlone(7, ASKED), AllButEach(7, ASKED)])
def test_rows_are_the_same_however_they_are_cut(series: EachAlone | AllButEach, size: int) -> None:
    parts = [series[start : min(start + size, 5)] for start in range(0, 5, size)]
    whole = np.concatenate(parts)
    assert whole.shape == series.shape
    assert whole.dtype == np.float32
    alone = np.concatenate([np.zeros((1, 7)), np.eye(7)[list(ASKED)]])
    np.testing.assert_array_equal(whole, alone if isinstance(series, EachAlone) else 1 - alone)


def test_where_no_channel_is_asked_for_one_row_is_left() -> None:
    np.testing.assert_array_equal(EachAlone(3, ())[0:1], np.zeros((1, 3)))
    np.testing.assert_array_equal(AllButEach(3, ())[0:1], np.ones((1, 3)))


def test_rows_of_the_same_channels_are_equal_and_of_others_are_not() -> None:
    assert EachAlone(7, ASKED) == EachAlone(7, ASKED)
    assert EachAlone(7, ASKED) != EachAlone(8, ASKED)
    assert EachAlone(7, ASKED) != EachAlone(7, ASKED[1:])
    assert EachAlone(7, ASKED) != AllButEach(7, ASKED)


def test_a_channel_lives_where_one_of_its_cells_is_not_zero() -> None:
    features = np.zeros((5, 2, 3), np.float32)
    features[1, 1, 2], features[2, 0, 0], features[3] = 1e-30, -1, -0.0
    assert shown_channels(features) == (1, 2)


def test_weights_go_to_the_channels_asked_for_and_the_first_of_them_to_the_first() -> None:
    assert among(7, ASKED, np.array([1.0, 2, 3, 4])).tolist() == [1, 2, 0, 3, 0, 0, 4]
    assert among(7, ASKED, np.array([1.0, 2])).tolist() == [1, 2, 0, 0, 0, 0, 0]
    assert among(7, (), np.empty(0)).tolist() == [0] * 7
