"""Drift: a share of the largest expected number; what cannot be compared is infinitely far."""

import math

import numpy as np
import pytest

from salience_service.drift import relative_difference


def test_the_largest_difference_is_a_share_of_the_largest_expected_number() -> None:
    actual, expected = np.array([1.0, -8.0, 3.0]), np.array([1.5, -10.0, 3.0])
    assert relative_difference(actual, expected) == pytest.approx(0.2)


def test_against_zeros_the_difference_is_taken_as_it_is() -> None:
    assert relative_difference(np.array([0.0, 0.25]), np.zeros(2)) == 0.25


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_infinitely_far(lost: float) -> None:
    assert relative_difference(np.array([1.0, lost]), np.array([1.0, 2.0])) == math.inf


def test_another_shape_is_infinitely_far_even_where_it_would_broadcast() -> None:
    assert relative_difference(np.ones((1, 3)), np.ones(3)) == math.inf
