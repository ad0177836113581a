"""Reductions over axes: ReduceMean, ReduceSum, ReduceMax and the like; CumSum."""

import math
from collections.abc import Callable, Mapping

from salience_export.differentiate.step import Rule, Step

_Gradient = Callable[[Step, list[int], str], str]
"""A gradient, from the axes reduced and the output's cotangent with these axes kept."""

_SAME_WHERE_NOTHING_IS_REDUCED = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")


def _reduction(gradient: _Gradient) -> Rule:
    """The rule of an operator that reduces; its gradient is spread over the input's shape."""

    def rule(step: Step) -> Mapping[int, str]:
        axes = _axes(step)
        if axes:
            return {0: gradient(step, axes, _kept(step, step.cotangent, axes))}
        if step.node.op_type not in _SAME_WHERE_NOTHING_IS_REDUCED:
            raise step.refused("no axes")
        return {0: step.cotangent}

    return rule


def _sum(step: Step, axes: list[int], dy: str) -> str:
    """Every entry gets the cotangent of its sum."""
    sizes = step.sizes(step.input(0))
    if any(sizes[axis] is None for axis in axes):
        return step.emit("Expand", dy, step.emit("Shape", step.input(0)))
    target = [sizes[axis] or 1 if axis in axes else 1 for axis in range(len(sizes))]
    return step.emit("Expand", dy, step.tape.integers(*target))


def _mean(step: Step, axes: list[int], dy: str) -> str:
    counts = [step.sizes(step.input(0))[axis] for axis in axes]
    if None in counts:
        raise step.refused("a mean over images")
    share = step.number(1 / math.prod(count or 1 for count in counts))
    return _sum(step, axes, step.emit("Mul", dy, share))


def _extreme(step: Step, axes: list[int], dy: str) -> str:
    """The cotangent shared evenly among the entries that equal the extreme, as torch.amax does."""
    hit = step.emit("Equal", step.input(0), _kept(step, step.output, axes))
    winners = step.emit("Cast", hit, to=step.shape(step.output).element)
    count = step.emit("ReduceSum", winners, step.tape.integers(*axes), keepdims=1)
    return step.emit("Mul", winners, step.emit("Div", dy, count))


def _l1(step: Step, _: list[int], dy: str) -> str:
    return step.emit("Mul", dy, step.emit("Sign", step.input(0)))


def _l2(step: Step, axes: list[int], dy: str) -> str:
    """dy · x / y, and 0 where the norm is 0, as in torch."""
    y = _kept(step, step.output, axes)
    zero = step.emit("Equal", y, step.number(0))
    divisor = step.emit("Add", y, step.emit("Cast", zero, to=step.shape(step.output).element))
    return step.emit("Mul", step.input(0), step.emit("Div", dy, divisor))


def _sum_of_squares(step: Step, _: list[int], dy: str) -> str:
    return step.emit("Mul", step.input(0), step.emit("Add", dy, dy))


def _log_of_sum(step: Step, axes: list[int], dy: str) -> str:
    total = step.emit("Exp", _kept(step, step.output, axes))
    return _sum(step, axes, step.emit("Div", dy, total))


def _log_of_sum_of_exponentials(step: Step, axes: list[int], dy: str) -> str:
    lowered = step.emit("Sub", step.input(0), _kept(step, step.output, axes))
    return step.emit("Mul", dy, step.emit("Exp", lowered))


def _axes(step: Step) -> list[int]:
    """The axes reduced, counted from the front; none where the node says it does nothing."""
    rank = len(step.sizes(step.input(0)))
    stated = step.axes(1)
    if not stated:
        return [] if step.integer("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in stated)


def _kept(step: Step, tensor: str, axes: list[int]) -> str:
    """A tensor of the output's shape, with the axes reduced as ones."""
    if step.integer("keepdims", 1):
        return tensor
    return step.emit("Unsqueeze", tensor, step.tape.integers(*axes))


def running_sum(step: Step) -> Mapping[int, str]:
    """An entry counts in every sum from its own on: the same sum from the other end."""
    reverse = 1 - step.integer("reverse", 0)
    exclusive = step.integer("exclusive", 0)
    dy, axis = step.cotangent, step.input(1)
    return {0: step.emit("CumSum", dy, axis, exclusive=exclusive, reverse=reverse)}


REDUCTIONS: Mapping[str, Rule] = {
    "CumSum": running_sum,
    "ReduceL1": _reduction(_l1),
    "ReduceL2": _reduction(_l2),
    "ReduceLogSum": _reduction(_log_of_sum),
    "ReduceLogSumExp": _reduction(_log_of_sum_of_exponentials),
    "ReduceMax": _reduction(_extreme),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(_extreme),
    "ReduceSum": _reduction(_sum),
    "ReduceSumSquare": _reduction(_sum_of_squares),
}
