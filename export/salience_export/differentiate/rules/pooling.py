"""Pooling: MaxPool, AveragePool and the global ones."""

import math
from collections.abc import Mapping

import numpy as np

from salience_export.differentiate.rules.matrices import along, one_hot
from salience_export.differentiate.rules.windows import Windows, windows_of
from salience_export.differentiate.step import Rule, Step


def average_pool(step: Step) -> Mapping[int, str]:
    """Means of windows, a product of means along each axis: so is what goes back."""
    rank = len(step.sizes(step.input(0)))
    padding_counts = bool(step.integer("count_include_pad", 0))
    gradient = step.cotangent
    for axis, windows in reversed(list(enumerate(windows_of(step), start=2))):
        if windows.is_trivial:
            continue
        limit = windows.size + windows.after if padding_counts else windows.size
        counted = windows.inside | (padding_counts & (windows.positions < limit))
        means = one_hot(windows.positions, windows.size)
        means = means.reshape(windows.count, windows.kernel, -1).sum(1)
        means /= counted.sum(1, keepdims=True)
        gradient = along(step, gradient, rank, axis, means)
    return {0: gradient}


def max_pool(step: Step) -> Mapping[int, str]:
    """Maxima of windows; of equal ones the first in row-major order, as in torch.

    A maximum over a window is one along its rows, then one over these. Going back, the row
    is found first, then the entry in it; so ties fall as if all entries were searched in order.
    """
    axes = [
        (axis, windows)
        for axis, windows in enumerate(windows_of(step), start=2)
        if not windows.is_trivial
    ]
    stages = []
    tensor = step.input(0)
    for axis, windows in reversed(axes):
        padded = _padded_low(step, tensor, axis, windows)
        is_last = axis == axes[0][0]
        tensor = step.output if is_last else _maxima(step, padded, axis, windows)
        stages.append((axis, windows, padded, tensor))
    gradient = step.cotangent
    for axis, windows, padded, maxima in reversed(stages):
        gradient = _first_hits(step, (padded, maxima, gradient), axis, windows)
    return {0: gradient}


def _padded_low(step: Step, tensor: str, axis: int, windows: Windows) -> str:
    """The tensor padded along an axis with numbers that are no maximum."""
    if windows.before == windows.reach == 0:
        return tensor
    pads = np.zeros((2, len(step.sizes(step.output))), np.int64)
    pads[:, axis] = windows.before, windows.reach
    low = step.number(float(np.finfo(step.dtype).min))
    return step.emit("Pad", tensor, step.tape.integers(*pads.reshape(-1).tolist()), low)


def _maxima(step: Step, padded: str, axis: int, windows: Windows) -> str:
    """Maxima of windows along one axis alone."""
    spatial = len(step.sizes(step.output)) - 2
    kernel, strides, dilations = ([1] * spatial for _ in range(3))
    kernel[axis - 2] = windows.kernel
    strides[axis - 2] = windows.stride
    dilations[axis - 2] = windows.dilation
    return step.emit("MaxPool", padded, kernel_shape=kernel, strides=strides, dilations=dilations)


def _first_hits(step: Step, tensors: tuple[str, str, str], axis: int, windows: Windows) -> str:
    """Each window's cotangent given to the first of its entries that equals its maximum.

    Args:
        step: the pooling.
        tensors: what was pooled along the axis (padded), the maxima, their cotangents.
        axis: of the windows.
        windows: along it.
    """
    padded, maxima, rest = tensors
    shares = []
    for offset in range(windows.kernel - 1):
        entries = _entries(step, padded, axis, windows, offset)
        hit = step.emit("Cast", step.emit("Equal", entries, maxima), to=_element(step))
        shares.append(step.emit("Mul", rest, hit))
        rest = step.emit("Sub", rest, shares[-1])
    shares.append(rest)  # One entry is the maximum: the last, if no other was.
    joined = step.emit("Concat", *shares, axis=axis) if len(shares) > 1 else rest
    rank = len(step.sizes(step.output))
    return along(step, joined, rank, axis, one_hot(windows.positions.T, windows.size))


def _entries(step: Step, padded: str, axis: int, windows: Windows, offset: int) -> str:
    """The entry at this offset of every window."""
    start = offset * windows.dilation
    stop = start + (windows.count - 1) * windows.stride + 1
    limits = (step.tape.integers(each) for each in (start, stop, axis, windows.stride))
    return step.emit("Slice", padded, *limits)


def _element(step: Step) -> int:
    return step.shape(step.output).element


def global_average_pool(step: Step) -> Mapping[int, str]:
    """The mean over all axes from the third on."""
    pixels = _spatial(step)
    share = step.emit("Mul", step.cotangent, step.number(1 / math.prod(pixels)))
    return {0: step.emit("Expand", share, step.tape.integers(1, 1, *pixels))}


def global_max_pool(step: Step) -> Mapping[int, str]:
    """The maximum over all axes from the third on; of equal ones the first."""
    pixels = math.prod(_spatial(step))
    flat = step.emit("Reshape", step.input(0), step.tape.integers(0, 0, -1))
    winner = step.emit("ArgMax", flat, axis=2, keepdims=1)
    hit = step.emit("Equal", step.tape.integers(*range(pixels)), winner)
    gradient = step.emit("Reshape", step.cotangent, step.tape.integers(0, 0, 1))
    product = step.emit("Mul", gradient, step.emit("Cast", hit, to=_element(step)))
    return {0: step.reshaped(product, step.input(0))}


def _spatial(step: Step) -> list[int]:
    sizes = step.sizes(step.input(0))[2:]
    if None in sizes:
        raise step.refused("pixels that count images")
    return [size for size in sizes if size is not None]


POOLING: Mapping[str, Rule] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
}
