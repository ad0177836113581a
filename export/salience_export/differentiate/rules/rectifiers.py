"""Rectifiers: Relu and Clip, open between their bounds and shut at and beyond them."""

import math
from collections.abc import Mapping

from salience_export.differentiate.gates import above, below, between
from salience_export.differentiate.step import Rule, Step


def relu(step: Step) -> Mapping[int, str]:
    """y = max(x, 0); at 0 the slope is 0, as torch's."""
    return {0: step.emit("Mul", step.cotangent, above(step, step.output, 0.0))}


def clip(step: Step) -> Mapping[int, str]:
    """y = min(max(x, low), high); at the bounds the slope is 0, as that of torch's relu6.

    (torch.clamp passes at its bounds, and exports to the same operator: there is no telling.)
    """
    low, high = _bound(step, 1, -math.inf), _bound(step, 2, math.inf)
    if step.wanted - {0}:
        raise step.refused("computed bounds")
    y, dy = step.output, step.cotangent
    match math.isfinite(low), math.isfinite(high):
        case True, True:
            return {0: step.emit("Mul", dy, between(step, y, low, high))}
        case True, False:
            return {0: step.emit("Mul", dy, above(step, y, low))}
        case False, True:
            return {0: step.emit("Mul", dy, below(step, y, high))}
        case _:
            return {0: dy}


def _bound(step: Step, position: int, none: float) -> float:
    """A bound, by an input; none where it is left out or the type's largest number."""
    if not step.input(position):
        return none
    bound = float(step.constant(position).reshape(()))
    return none if abs(bound) > 1e38 else bound


RECTIFIERS: Mapping[str, Rule] = {"Clip": clip, "Relu": relu}
