"""Fusion: maps of several taps, brought to the model's input and made one."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import unit_range, upsample
from salience_service.methods.probe import Base, FloatMap

Fusion = Literal["mean", "max", "product"]
"""How maps of one size become one, pixel by pixel. pytorch-grad-cam takes the mean of several
layers, torch-cam the max, Poly-CAM the product."""

FUSION = "How the maps of several taps become one, pixel by pixel; of one tap nothing is changed."

Maps = Sequence[NDArray[np.float64]]


def fused(maps: Maps, fusion: Fusion, base: Base) -> FloatMap:
    """One map of several that are nowhere negative; of one, that map untouched.

    Each is min–maxed at its own resolution, upsampled, and combined with the others, so
    that no tap counts more because its numbers are greater; one that is flat counts as zeros.

    Args:
        maps: a tap's each, float64 [h, w] ≥ 0.
        fusion: how they become one.
        base: the clean run, whose size the model's input has.

    Returns:
        float32 [h, w] of the only tap, or float32 [H, W] of the model's input in [0, 1].
    """
    if len(maps) == 1:
        return maps[0].astype(np.float32)
    return combined([unit_range(each.astype(np.float32)) for each in maps], fusion, base)


def balanced(maps: Maps, base: Base) -> FloatMap:
    """One signed map of several: the mean of each divided by its greatest absolute value.

    Zero stays zero in each, so that the sign goes on saying what is for and what against;
    of one map nothing is changed.

    Returns:
        float32 [h, w] of the only tap, or float32 [H, W] of the model's input in [−1, 1].
    """
    if len(maps) == 1:
        return maps[0].astype(np.float32)
    greatest = [float(np.abs(each).max()) for each in maps]
    scaled = [each / (most or 1) for each, most in zip(maps, greatest, strict=True)]
    return combined([each.astype(np.float32) for each in scaled], "mean", base)


def combined(maps: Sequence[FloatMap], fusion: Fusion, base: Base) -> FloatMap:
    """Maps of one scale, float32 [h, w], upsampled and combined: float32 [H, W]."""
    raised = np.stack([upsample(each, base.height, base.width) for each in maps])
    match fusion:
        case "mean":
            return np.asarray(raised.mean(axis=0), np.float32)
        case "max":
            return np.asarray(raised.max(axis=0), np.float32)
        case "product":
            return np.asarray(raised.prod(axis=0), np.float32)
