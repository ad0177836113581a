"""Gates: 1 where an activation was open and 0 where it was shut, written to be fast.

On pictures [N, C, H, W] a gate is made of depthwise convolutions of one pixel, because ONNX
Runtime keeps those in the blocked layout of the convolutions around; comparisons would cost a
change of layout there and back. It is exact: the distance from the bound, however small, times
a very large power of two and clipped to [0, 1] is 1, and no distance is 0. (A distance below
2⁻¹²⁶ passes in part.) In half precision that power is infinite and a shut gate would be NaN:
gradient graphs are for float32 and float64.
"""

import numpy as np

from salience_export.differentiate.step import Step


def above(step: Step, tensor: str, bound: float) -> str:
    """Open where a tensor that is never below the bound lies above it."""
    if _is_picture(step, tensor):
        return _opened(step, _affine(step, tensor, tensor, 1.0, -bound), tensor)
    return _as_number(step, tensor, step.emit("Greater", tensor, step.number(bound)))


def below(step: Step, tensor: str, bound: float) -> str:
    """Open where a tensor that is never above the bound lies below it."""
    if _is_picture(step, tensor):
        return _opened(step, _affine(step, tensor, tensor, -1.0, bound), tensor)
    return _as_number(step, tensor, step.emit("Less", tensor, step.number(bound)))


def between(step: Step, tensor: str, low: float, high: float) -> str:
    """Open where a tensor that never leaves [low, high] lies strictly inside."""
    if _is_picture(step, tensor):
        from_low = _affine(step, tensor, tensor, 1.0, -low)
        from_high = _affine(step, tensor, tensor, -1.0, high)
        return _opened(step, step.emit("Mul", from_low, from_high), tensor)
    inside = (
        step.emit("Greater", tensor, step.number(low)),
        step.emit("Less", tensor, step.number(high)),
    )
    return _as_number(step, tensor, step.emit("And", *inside))


def _is_picture(step: Step, tensor: str) -> bool:
    sizes = step.sizes(tensor)
    return len(sizes) == 4 and None not in sizes[1:]


def _as_number(step: Step, tensor: str, truth: str) -> str:
    return step.emit("Cast", truth, to=step.shape(tensor).element)


def _opened(step: Step, distance: str, tensor: str) -> str:
    """A distance, which is never negative, as 0 or 1; it has the tensor's shape."""
    largest = 2.0 ** (np.finfo(step.dtype).maxexp - 1)
    steep = _affine(step, distance, tensor, largest, 0.0)
    return step.emit("Clip", steep, step.number(0.0), step.number(1.0))


def _affine(step: Step, values: str, tensor: str, slope: float, offset: float) -> str:
    """slope · values + offset as a depthwise convolution; the values have the tensor's shape."""
    if (slope, offset) == (1.0, 0.0):
        return values
    channels = step.sizes(tensor)[1] or 0
    weight = step.tape.constant(np.full((channels, 1, 1, 1), slope, step.dtype))
    bias = step.tape.constant(np.full(channels, offset, step.dtype))
    return step.emit("Conv", values, weight, bias, group=channels, kernel_shape=[1, 1])
