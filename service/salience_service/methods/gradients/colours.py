"""Colours of a pixel: which of their derivatives count, and how they become one number."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.probe import FloatMap

Values = Literal["absolute", "positive", "signed"]
Reduction = Literal["max", "sum"]

VALUES = (
    "What counts of a derivative: its absolute value, its value where positive (relu), "
    "or its value, below zero too."
)
REDUCTION = "How the colours of a pixel become one: the strongest, whatever its sign, or their sum."


def chosen(gradient: NDArray[np.float32], values: Values) -> NDArray[np.float32]:
    """What counts of derivatives of any shape."""
    match values:
        case "absolute":
            return np.abs(gradient)
        case "positive":
            return np.maximum(gradient, np.float32(0))
        case "signed":
            return gradient


def over_colours(gradient: NDArray[np.floating], reduction: Reduction) -> FloatMap:
    """Derivatives [C, H, W] as one number a pixel, float32 [H, W], which keeps its sign."""
    if reduction == "max":
        strongest = np.abs(gradient).argmax(axis=0)[None]
        return np.asarray(np.take_along_axis(gradient, strongest, axis=0)[0], np.float32)
    return np.asarray(gradient.sum(axis=0, dtype=np.float64), np.float32)
