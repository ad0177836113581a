"""Gates: 1 where an activation was open and 0 where it was shut, in one pass over its numbers.

A gate is a HardSigmoid so steep that nothing lies on its slope: the distance from the bound,
however small, times a very large power of two and clipped to [0, 1] is 1, and no distance is 0.
That is exact, since powers of two round nothing. (A distance below 2⁻¹²⁵ times the bound's own
power of two passes in part.) ONNX Runtime keeps it in the blocked layout of the convolutions
around, where a comparison would cost a change of layout there and back; it takes two fifths of
the time of a depthwise convolution that does the same. In half precision that power is infinite
and a shut gate would be NaN: gradient graphs are for float32 and float64.
"""

import math

import numpy as np

from salience_export.differentiate.step import Step

_STEEPEST = 126
"""The power of two by which a distance from 0 is multiplied; float32 ends at 2¹²⁸."""


def above(step: Step, tensor: str, bound: float) -> str:
    """Open where a tensor lies above the bound."""
    return _gate(step, tensor, 1, bound) or _compared(step, tensor, "Greater", bound)


def below(step: Step, tensor: str, bound: float) -> str:
    """Open where a tensor lies below the bound."""
    return _gate(step, tensor, -1, bound) or _compared(step, tensor, "Less", bound)


def between(step: Step, tensor: str, low: float, high: float) -> str:
    """Open where a tensor lies strictly between the bounds."""
    return step.emit("Mul", above(step, tensor, low), below(step, tensor, high))


def _gate(step: Step, tensor: str, side: int, bound: float) -> str:
    """Open on one side of the bound; empty where float32, which attributes are, cannot say it."""
    if float(np.float32(bound)) != bound:
        return ""
    _, power = math.frexp(bound)
    slope = side * 2.0 ** (_STEEPEST - max(power, 0))
    return step.emit("HardSigmoid", tensor, alpha=slope, beta=-slope * bound)


def _compared(step: Step, tensor: str, comparison: str, bound: float) -> str:
    truth = step.emit(comparison, tensor, step.number(bound))
    return step.emit("Cast", truth, to=step.shape(tensor).element)
