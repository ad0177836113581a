"""What an order asks of a model, settled and checked before any device work."""

from dataclasses import dataclass
from typing import Any

from salience_service.bundle.manifest import Tap
from salience_service.errors import InvalidRequest
from salience_service.events import GradientSide
from salience_service.image.fill import check_fill
from salience_service.methods import METHODS, Method, taps_for
from salience_service.methods.options import Options, resolve
from salience_service.model import ServedModel
from salience_service.render import check_format
from salience_service.request import ExplainOrder, GradientChoice, MethodCall
from salience_service.resolve import check_targets
from salience_service.scores.faithfulness import refuse_unscorable

MAX_METHODS = 64


@dataclass(frozen=True)
class PlannedMethod:
    """A method with its options settled, its taps, coarse to fine, and who takes its gradients."""

    method: Method[Any]
    options: Options
    taps: tuple[Tap, ...]
    gradient_side: GradientSide

    @property
    def expected_rows(self) -> int:
        """Rows and gradients that one map is expected to take."""
        return self.method.rows(tuple(tap.channels for tap in self.taps), self.options)


def plan(order: ExplainOrder, model: ServedModel) -> tuple[PlannedMethod, ...]:
    """The methods of an order, each possible on this model.

    Raises:
        InvalidRequest: an unknown method, option, tap or class, or a value out of range.
        NotPossible: the model lacks what a method needs.
    """
    if not 1 <= len(order.methods) <= MAX_METHODS:
        raise InvalidRequest(f"{len(order.methods)} methods asked for; name 1 to {MAX_METHODS}")
    refuse_unscorable(order.scores, model.manifest.head.kind)
    check_targets(order.targets, model.manifest.head)
    check_format(order.format)
    for fill in (order.fill, order.score_fill):
        if fill is not None:
            check_fill(fill, model.manifest.input)
    return tuple(_planned(call, model, order.gradient_side) for call in order.methods)


def _planned(call: MethodCall, model: ServedModel, choice: GradientChoice) -> PlannedMethod:
    method = METHODS.get(call.name)
    if method is None:
        raise InvalidRequest(f"no method {call.name!r}; known are: {', '.join(METHODS)}")
    options = resolve(method.options, call.options)
    taps = taps_for(method, model.manifest, call.taps)
    side = model.gradients.chosen(choice) if method.needs_gradient else GradientSide.NONE
    return PlannedMethod(method, options, taps, side)
