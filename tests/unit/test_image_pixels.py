"""Pixels given as numbers are checked before they are used."""

import numpy as np
import pytest

from salience_service.errors import InvalidRequest
from salience_service.image.pixels import GREATEST_FULL_SCALE, LEAST_FULL_SCALE, Pixels


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 2), (4, 5, 4), (2, 4, 5, 3), (0, 5, 3)])
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="shape"):
        Pixels(np.zeros(shape, np.uint8), 255)


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.int32, np.bool_, np.complex64])
def test_pixels_of_another_type_are_refused(dtype: type) -> None:
    with pytest.raises(InvalidRequest, match="uint8, uint16 or float32"):
        Pixels(np.zeros((4, 5, 3), dtype), 255)


@pytest.mark.parametrize("full_scale", [0.0, -1.0, np.nan, np.inf, 1e-39, 1e-300, 1e39])
def test_a_full_scale_that_is_no_positive_number_is_refused(full_scale: float) -> None:
    with pytest.raises(InvalidRequest, match="full scale"):
        Pixels(np.zeros((4, 5, 3), np.float32), full_scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    values = np.zeros((4, 5, 1), np.float32)
    values[3, 4] = value
    with pytest.raises(InvalidRequest, match="NaN or infinity"):
        Pixels(values, 1)


@pytest.mark.parametrize(
    ("values", "full_scale"),
    [
        (np.full((2, 2, 1), 1.01, np.float32), 1),
        (np.full((2, 2, 1), -0.01, np.float32), 1),
        (np.full((2, 2, 1), 4096, np.uint16), 4095),
        (np.full((2, 2, 1), 101, np.uint8), 100),
    ],
)
def test_values_beyond_the_full_scale_are_refused(values: np.ndarray, full_scale: float) -> None:
    with pytest.raises(InvalidRequest, match="outside"):
        Pixels(values, full_scale)


def test_pixels_are_shown_with_8_bits() -> None:
    values = np.array([0, 1000, 2048, 4095], np.uint16).reshape(2, 2, 1)
    np.testing.assert_array_equal(Pixels(values, 4095).shown().ravel(), [0, 62, 128, 255])


def test_8_bit_pixels_are_shown_without_a_copy() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.shares_memory(Pixels(values, 255).shown(), values)


@pytest.mark.parametrize("full_scale", [LEAST_FULL_SCALE, GREATEST_FULL_SCALE])
def test_full_scales_at_the_limits_are_taken(full_scale: float) -> None:
    values = np.array([0, full_scale], np.float32).reshape(1, 2, 1)
    assert Pixels(values, full_scale).shown().ravel().tolist() == [0, 255]
