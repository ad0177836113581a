"""What an order asks of a model, settled and checked before any device work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.events import GradientSide
from salience_service.explanation.early_end import check_stop
from salience_service.field_path import at, read
from salience_service.image.fill import check_fill
from salience_service.maps.render import check_format
from salience_service.methods import METHODS, Method, taps_for
from salience_service.methods.method import extent
from salience_service.methods.options import Options, resolve
from salience_service.models.model import ServedModel
from salience_service.request import ExplainOrder, MethodCall
from salience_service.scores.backdrops import check_backdrop
from salience_service.scores.box import check_box
from salience_service.scores.curves import curve_row_count, curved
from salience_service.scores.faithfulness import refuse_unscorable
from salience_service.targets.resolve import check_targets

MOST_METHODS = 64


@dataclass(frozen=True)
class PlannedMethod:
    """A method of an order, possible on its model.

    Attributes:
        method: the method. options: settled. taps: coarse to fine.
        gradient_side: who takes its gradients.
        rows: rows and gradients that one map is expected to take.
        score_rows: rows of the scores of one map.
        working: doubles that one map is made with, beside sums of the input's size.
    """

    method: Method[Any]
    options: Options
    taps: tuple[Tap, ...]
    gradient_side: GradientSide
    rows: int
    score_rows: int
    working: int

    @property
    def anytime(self) -> bool:
        """Whether its maps may be drawn from fewer rows, with these options."""
        return self.method.anytime is not None and self.method.anytime(self.options)

    @property
    def goes_on_from_taps(self) -> bool:
        """Whether it may ask for what begins at its taps; other tensors may go around these."""
        return GraphRole.TAIL in self.method.graphs or self.gradient_side is GradientSide.ONNX

    def rows_for(self, targets: int) -> int:
        """Rows expected for maps of some targets: rows are shared, gradients are not."""
        shares = not self.method.needs_gradient
        return self.rows * (min(targets, 1) if shares else targets) + self.score_rows * targets


def plan(order: ExplainOrder, model: ServedModel) -> tuple[PlannedMethod, ...]:
    """The methods of an order, each possible on this model.

    Raises:
        InvalidRequest: an unknown method, option, tap or class, or a value out of range.
        NotPossible: the model lacks what a method needs.
    """
    if not 1 <= len(order.methods) <= MOST_METHODS:
        raise InvalidRequest(
            f"{len(order.methods)} methods asked for; name 1 to {MOST_METHODS}", field="methods"
        )
    read("scores", _check_scores, order, model)
    check_targets(order.targets, model.manifest.head)
    read("format", check_format, order.format)
    for field, fill in (("fill", order.fill), ("score_fill", order.score_fill)):
        if fill is not None:
            read(field, check_fill, fill, model.manifest.input)
    if order.box is not None:
        read("box", check_box, order.box)
    if order.stop_when is not None:
        read("stop_when", check_stop, order.stop_when)
    planned = tuple(
        read(f"methods[{place}]", _planned, call, model, order)
        for place, call in enumerate(order.methods)
    )
    if order.stop_when is not None:
        _check_anytime(planned)
    return planned


def _check_scores(order: ExplainOrder, model: ServedModel) -> None:
    refuse_unscorable(order.scores, model.manifest.head.kind)
    lost = [kind.value for kind in order.scores if kind not in model.scores()]
    if lost:
        raise NotPossible(
            f"scores {', '.join(lost)} need the pixel_masked graph, which model {model.name} was "
            "exported without: export it again"
        )
    for kind in curved(order.scores):
        check_backdrop(order.curve_protocol, kind, model.manifest.input)


def _check_anytime(planned: Sequence[PlannedMethod]) -> None:
    """Refuses a `stop_when` that none of the methods can honour."""
    if not any(each.anytime for each in planned):
        asked = ", ".join(each.method.name for each in planned)
        known = ", ".join(name for name, method in METHODS.items() if method.anytime)
        raise InvalidRequest(
            f"stop_when is for anytime methods, and as asked none of these is one: {asked}; "
            f"ask for one of {known}, or leave stop_when out",
            field="stop_when",
        )


def _planned(call: MethodCall, model: ServedModel, order: ExplainOrder) -> PlannedMethod:
    method = METHODS.get(call.name)
    if method is None:
        raise InvalidRequest(
            f"no method {call.name!r}; known are: {', '.join(METHODS)}", field="name"
        )
    options = resolve(method.options, call.options)
    taps = read("taps", taps_for, method, model.manifest, call.taps)
    side = model.side_for(method, taps, order.gradient_side)
    size = extent(taps, model.manifest.input)
    score_rows = int(bool(order.scores)) + curve_row_count(order.scores, size.height)
    with at("options"):  # These fit the method, and may yet not fit this input.
        rows = method.rows(size, options)
    working = method.working(size, options)
    return PlannedMethod(method, options, taps, side, rows, score_rows, working)
