"""LNorm: divides a map by its own local mean (Poly-CAM, equation 1), for any ratio of sizes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import interpolation_matrix

Matrix = NDArray[np.floating]
Map64 = NDArray[np.float64]
FLOOR = 1e-12
"""Least divisor, as in the authors' code, but of a map whose maximum is one: a target of small
probability then has the map of any other."""


def local_norm(fine: Map64, shape: tuple[int, int], coarsen: Callable[[int, int], Matrix]) -> Map64:
    """M ⊘ up(down(M)), float64 [h, w]; the same for any multiple of M.

    Args:
        fine: M ≥ 0, [h, w].
        shape: the coarser size that M is brought down to.
        coarsen: (out size, in size) to the matrix [out, in] that brings an axis down:
            `pooling_matrix` in the paper, `interpolation_matrix` in the authors' code.
    """
    unit, _ = of_maximum_one(fine)
    rows = coarsen(shape[0], unit.shape[0])
    columns = coarsen(shape[1], unit.shape[1])
    means = resampled(rows @ unit @ columns.T, (unit.shape[0], unit.shape[1]))
    return unit / np.maximum(means, FLOOR)


def of_maximum_one(map_: Map64) -> tuple[Map64, float]:
    """A map ≥ 0 over its maximum, and that; zeros as they are, and 1."""
    greatest = float(map_.max()) or 1.0
    return map_ / greatest, greatest


def resampled(coarse: Map64, shape: tuple[int, int]) -> Map64:
    """`coarse` on another size, bilinear, align_corners false, kept in float64.

    Float64 because products of divisions by `FLOOR` leave float32's range.
    """
    rows = interpolation_matrix(shape[0], coarse.shape[0])
    columns = interpolation_matrix(shape[1], coarse.shape[1])
    result: Map64 = rows @ coarse @ columns.T
    return result


def pooling_matrix(out_size: int, in_size: int) -> NDArray[np.float64]:
    """Rows that average windows of an axis: sample i of n means [⌊i·m/n⌋, ⌈(i+1)·m/n⌉).

    Where the ratio is whole these are the paper's blocks; elsewhere neighbouring
    windows share a sample, as torch's `adaptive_avg_pool2d` has it.

    Returns:
        float64 [out_size, in_size], rows summing to 1.
    """
    first = np.arange(out_size) * in_size // out_size
    behind = -(-(np.arange(1, out_size + 1) * in_size) // out_size)
    samples = np.arange(in_size)
    inside = (samples >= first[:, None]) & (samples < behind[:, None])
    means: NDArray[np.float64] = inside / inside.sum(axis=1, keepdims=True)
    return means
