"""Rows of single channels: made when cut, alike however they are cut."""

import numpy as np
import pytest

from salience_service.methods.single_channels import AllButEach, EachAlone


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("series", [EachAlone(5), AllButEach(5)])
def test_rows_are_the_same_however_they_are_cut(series: EachAlone | AllButEach, size: int) -> None:
    parts = [series[start : min(start + size, 6)] for start in range(0, 6, size)]
    whole = np.concatenate(parts)
    assert whole.shape == series.shape
    assert whole.dtype == np.float32
    alone = np.concatenate([np.zeros((1, 5)), np.eye(5)])
    np.testing.assert_array_equal(whole, alone if isinstance(series, EachAlone) else 1 - alone)


def test_rows_of_as_many_channels_are_equal_and_of_others_are_not() -> None:
    assert EachAlone(5) == EachAlone(5)
    assert EachAlone(5) != EachAlone(6)
    assert EachAlone(5) != AllButEach(5)
