"""Normalisations: BatchNormalization, LayerNormalization and the like."""

import math
from collections.abc import Mapping

import numpy as np

from salience_export.differentiate.rules.matrices import along
from salience_export.differentiate.step import Rule, Step

_AXES_AS_INPUT = 18
"""The opset from which on ReduceMean takes its axes as an input."""

_SCALE_PER_CHANNEL = 21
"""The opset from which on GroupNormalization's scale is one a channel, not one a group."""


def batch_normalization(step: Step) -> Mapping[int, str]:
    """y = x · scale / √(variance + ε) + …, of statistics that were learnt."""
    if step.integer("training_mode", 0):
        raise step.refused("statistics of the batch at hand")
    _require_learnt_scale(step)
    # In the graph, where the runtime folds it: weights may lie in a file by now.
    raised = step.emit("Add", step.input(4), step.number(step.real("epsilon", 1e-5)))
    factor = step.emit("Div", step.input(1), step.emit("Sqrt", raised))
    shape = step.tape.integers(-1, *[1] * (len(step.sizes(step.input(0))) - 2))
    return {0: step.emit("Mul", step.cotangent, step.emit("Reshape", factor, shape))}


def layer_normalization(step: Step) -> Mapping[int, str]:
    """Standardised over the last axes, then scaled."""
    _require_learnt_scale(step)
    rank = len(step.sizes(step.input(0)))
    axes = list(range(step.integer("axis", -1) % rank, rank))
    gradient = step.emit("Mul", step.cotangent, step.input(1))
    return {0: _standardised(step, step.input(0), gradient, axes)}


def instance_normalization(step: Step) -> Mapping[int, str]:
    """Standardised over each channel's pixels, then scaled."""
    _require_learnt_scale(step)
    rank = len(step.sizes(step.input(0)))
    pixels = list(range(2, rank))
    scale = step.emit("Reshape", step.input(1), step.tape.integers(-1, *[1] * len(pixels)))
    gradient = step.emit("Mul", step.cotangent, scale)
    return {0: _standardised(step, step.input(0), gradient, pixels)}


def group_normalization(step: Step) -> Mapping[int, str]:
    """Standardised over the pixels of each group of channels, then scaled."""
    _require_learnt_scale(step)
    if step.opset < _SCALE_PER_CHANNEL:
        raise step.refused("a scale for each group")
    rank = len(step.sizes(step.input(0)))
    scale = step.emit("Reshape", step.input(1), step.tape.integers(-1, *[1] * (rank - 2)))
    gradient = step.emit("Mul", step.cotangent, scale)
    shape = step.tape.integers(0, step.integer("num_groups", 1), -1)
    x, gradient = (step.emit("Reshape", name, shape) for name in (step.input(0), gradient))
    return {0: step.reshaped(_standardised(step, x, gradient, [2]), step.input(0))}


def _standardised(step: Step, x: str, gradient: str, axes: list[int]) -> str:
    """The cotangent of x from that of (x − mean) / √(variance + ε).

    With c = x − mean, s = 1 / √(variance + ε) and g the gradient given:
    s · (g − mean(g)) − c · s³ · mean(g · c).
    """
    centred = step.emit("Sub", x, _mean(step, x, axes))
    variance = _mean(step, step.emit("Mul", centred, centred), axes)
    raised = step.emit("Add", variance, step.number(step.real("epsilon", 1e-5)))
    scale = step.emit("Reciprocal", step.emit("Sqrt", raised))
    straight = step.emit("Mul", step.emit("Sub", gradient, _mean(step, gradient, axes)), scale)
    slope = _mean(step, step.emit("Mul", gradient, centred), axes)
    slope = step.emit("Mul", step.emit("Div", slope, raised), scale)
    return step.emit("Sub", straight, step.emit("Mul", centred, slope))


def _mean(step: Step, tensor: str, axes: list[int]) -> str:
    if step.opset >= _AXES_AS_INPUT:
        return step.emit("ReduceMean", tensor, step.tape.integers(*axes))
    return step.emit("ReduceMean", tensor, axes=axes)


def _require_learnt_scale(step: Step) -> None:
    if step.wanted != {0}:
        raise step.refused("a scale or shift that depends on what is asked for")


def lp_normalization(step: Step) -> Mapping[int, str]:
    """y = x / ‖x‖: (dy − ‖x‖'(x) · Σ dy · y) / ‖x‖."""
    axis, order = step.integer("axis", -1), step.integer("p", 2)
    x, y, axes = step.input(0), step.output, step.tape.integers(axis)
    if order == 2:
        squares = step.emit("ReduceSum", step.emit("Mul", x, x), axes)
        norm, slope = step.emit("Sqrt", squares), y
    else:
        norm = step.emit("ReduceSum", step.emit("Abs", x), axes)
        slope = step.emit("Sign", x)
    total = step.emit("ReduceSum", step.emit("Mul", step.cotangent, y), axes)
    change = step.emit("Sub", step.cotangent, step.emit("Mul", slope, total))
    return {0: step.emit("Div", change, norm)}


def local_response_normalization(step: Step) -> Mapping[int, str]:
    """y = x · s^−β, s = k + α/n · Σ x² over n channels around each; K. 2012, §3.3 of AlexNet."""
    sizes = step.sizes(step.input(0))
    size, beta = step.integer("size", 1), step.real("beta", 0.75)
    share = step.real("alpha", 1e-4) / size
    channels = sizes[1]
    assert channels is not None
    distance = np.arange(channels) - np.arange(channels)[:, None]
    near = (-((size - 1) // 2) <= distance) & (distance <= math.ceil((size - 1) / 2))
    band = near.astype(np.float64)  # [channel, one that its sum takes in]
    x, dy = step.input(0), step.cotangent
    squares = along(step, step.emit("Mul", x, x), len(sizes), 1, band.T * share)
    base = step.emit("Add", squares, step.number(step.real("bias", 1.0)))
    straight = step.emit("Mul", dy, step.emit("Pow", base, step.number(-beta)))
    part = step.emit("Div", step.emit("Mul", dy, step.output), base)
    around = along(step, part, len(sizes), 1, band * (2 * share * beta))
    return {0: step.emit("Sub", straight, step.emit("Mul", x, around))}


NORMALISATION: Mapping[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": local_response_normalization,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
}
