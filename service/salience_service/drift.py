"""Drift: how far numbers are from those expected, as a share of the largest expected."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def relative_difference(actual: NDArray[np.floating[Any]], expected: NDArray[Any]) -> float:
    """Largest |actual − expected| over the largest |expected|, or over 1 where all are zero.

    Args:
        actual: floats of any shape.
        expected: finite floats, at least one.

    Returns:
        ≥ 0; infinite where `actual` has another shape, NaN or infinity.
    """
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(actual - expected).max() / (np.abs(expected).max() or 1))


def norm_difference(actual: NDArray[np.floating[Any]], expected: NDArray[Any]) -> float:
    """Norm of actual − expected over the norm of the expected, or over 1 where it is zero.

    For gradients: where a sum of floats falls to the other side of a kink, single numbers
    change by much, and their whole by little.

    Args:
        actual: floats of any shape.
        expected: finite floats, at least one.

    Returns:
        ≥ 0; infinite where `actual` has another shape, NaN or infinity.
    """
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    wanted = expected.astype(np.float64)
    return float(np.linalg.norm(actual - wanted) / (np.linalg.norm(wanted) or 1))
