"""The one definition of interpolation equals torch's."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from salience_service.interpolation import (
    FLAT,
    interpolation_matrix,
    is_flat,
    sampling_matrix,
    unit_range,
    upsample,
    upsample_back,
)

RNG = np.random.default_rng(4)
SIZES = [(7, 224), (14, 224), (13, 227), (1, 9), (27, 13), (5, 5), (112, 224), (3, 256)]


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_the_matrix_is_torchs_bilinear_without_aligned_corners(small: int, large: int) -> None:
    maps = RNG.normal(size=(4, small, small + 1)).astype(np.float32)
    wanted = functional.interpolate(
        torch.from_numpy(maps)[None].double(), (large, large + 3), mode="bilinear"
    )[0]
    got = upsample(maps, large, large + 3)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted.numpy(), atol=3e-6)


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_every_row_sums_to_one_and_cannot_be_changed(small: int, large: int) -> None:
    matrix = interpolation_matrix(large, small)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 5


def test_a_map_of_its_own_size_is_not_touched() -> None:
    np.testing.assert_array_equal(interpolation_matrix(31, 31), np.eye(31))


def test_positions_beyond_the_edges_read_the_edge() -> None:
    matrix = sampling_matrix(np.array([-9.0, -0.25, 0.5, 2.75, 3.0, 99.0]), 4)
    wanted = [[1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75], *[[0, 0, 0, 1]] * 2]
    np.testing.assert_array_equal(matrix, wanted)


def test_a_constant_is_still_flat_after_interpolation() -> None:
    for value in (1.0, -0.3, 1e-12, 7e20):
        up = upsample(np.full((7, 7), value, np.float32), 224, 224)
        assert is_flat(float(up.min()), float(up.max()))
        assert (unit_range(up) == 0).all()


@pytest.mark.parametrize(
    ("low", "high", "flat"),
    [(0, 0, True), (0, 1e-30, False), (1, 1 + FLAT / 2, True), (1, 1 + 2 * FLAT, False),
     (-1e-9, 1e-9, False), (float("nan"), 1, True)],
)  # fmt: skip
def test_flatness_is_measured_against_the_greatest_value(
    low: float, high: float, flat: bool
) -> None:
    assert is_flat(low, high) is flat


def test_the_unit_range_is_taken_map_by_map() -> None:
    maps = (
        RNG.normal(size=(5, 6, 7)).astype(np.float32)
        * np.float32([1, 1e-20, 1e20, 3, 0])[:, None, None]
    )
    got = unit_range(maps)
    np.testing.assert_allclose(got[:4].min(axis=(1, 2)), 0)
    np.testing.assert_allclose(got[:4].max(axis=(1, 2)), 1)
    assert (got[4] == 0).all()
    one = maps[3].astype(np.float64)
    np.testing.assert_allclose(got[3], (one - one.min()) / np.ptp(one), atol=1e-6)


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_the_way_back_is_the_gradient_of_the_way_up(small: int, large: int) -> None:
    leaf = torch.zeros(2, 1, small, small + 1, dtype=torch.float64, requires_grad=True)
    gradient = RNG.normal(size=(2, large, large + 3)).astype(np.float32)
    up = functional.interpolate(leaf, (large, large + 3), mode="bilinear")[:, 0]
    (wanted,) = torch.autograd.grad(up, leaf, torch.from_numpy(gradient).double())
    got = upsample_back(gradient, small, small + 1)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted[:, 0].numpy(), rtol=1e-4, atol=1e-3)
