"""The rules of Relu and Clip, beside torch: inside, at their bounds, next to them and beyond."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, Draw, check, differentiated, normal, one, tied

SIZES = ((None, 3, 7, 5), (None, 12), (None, 6, 4), (None, 2, 3, 4, 5))


def at_the_edge(random: np.random.Generator, sizes: Sequence[int]) -> NDArray[np.float64]:
    """The bounds 0, 1 and 6, the float32 numbers next to them, the least normal one at 0."""
    bounds = np.array([0, 1, 6], np.float32)
    near = [np.nextafter(bounds[1:], np.float32(side)) for side in (-9, 9)]
    least = np.finfo(np.float32).smallest_normal
    few = np.concatenate([bounds, *near, np.array([least, -least, 1e30, -1e30], np.float32)])
    return random.choice(few, sizes).astype(np.float64)


DRAWS = (normal, tied, at_the_edge)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("sizes", SIZES)
def test_relu_goes_back_as_in_torch(sizes: tuple[int | None, ...], draw: Draw) -> None:
    check(Case(one("Relu", "a"), torch.relu, (sizes,), draw=draw))


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (0.25, 2.5)])
def test_clip_goes_back_as_hardtanh_in_torch(
    low: float, high: float, sizes: tuple[int | None, ...], draw: Draw
) -> None:
    bounds = {"low": np.float32(low), "high": np.float32(high)}
    node = one("Clip", "a", "low", "high")
    check(Case(node, lambda x: F.hardtanh(x, low, high), (sizes,), bounds, draw))


@pytest.mark.parametrize("sizes", SIZES)
def test_clip_of_one_bound_passes_beyond_the_other(sizes: tuple[int | None, ...]) -> None:
    bound = {"bound": np.float32(0.5)}
    above = Case(one("Clip", "a", "bound"), lambda x: F.threshold(x, 0.5, 0.5), (sizes,), bound)
    below = Case(one("Clip", "a", "", "bound"), lambda x: x.clamp(max=0.5), (sizes,), bound)
    check(above)
    check(below)


def test_clip_without_bounds_passes_all() -> None:
    widest = np.finfo(np.float32)
    check(Case(one("Clip", "a"), lambda x: 1 * x, SIZES[:1]))
    bounds = {"low": np.float32(widest.min), "high": np.float32(widest.max)}
    check(Case(one("Clip", "a", "low", "high"), lambda x: 1 * x, SIZES[:1], bounds))


def test_computed_bounds_are_refused() -> None:
    case = Case(one("Clip", "a", "b"), lambda a, b: a, ((None, 3), ()))
    with pytest.raises(NoRule, match="Clip with"):
        differentiated(case)
