"""Drift: a share of the largest expected number; what cannot be compared is infinitely far."""

import math

import numpy as np
import pytest

from salience_service.drift import norm_difference, relative_difference


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


def test_the_norm_of_a_difference_is_a_share_of_the_expected_norm() -> None:
    expected = np.array([[3.0, 4.0], [0.0, 12.0]])  # of norm 13
    actual = expected + np.array([[0.3, 0.0], [0.4, 0.0]])
    assert norm_difference(actual, expected) == pytest.approx(0.5 / 13)
    assert norm_difference(expected, expected) == 0


def test_against_zeros_the_norm_is_taken_as_it_is() -> None:
    assert norm_difference(np.array([0.3, 0.4]), np.zeros(2)) == pytest.approx(0.5)


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_the_norm_of_what_cannot_be_compared_is_infinite(lost: float) -> None:
    assert norm_difference(np.array([1.0, lost]), np.ones(2)) == math.inf
    assert norm_difference(np.ones((1, 2)), np.ones(2)) == math.inf
