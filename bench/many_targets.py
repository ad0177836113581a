"""Seconds of a Score-CAM and of a RISE for ten classes, beside one class.

Whole explanations of EfficientNet-Lite0 through `Engine.explain`, partial maps on the way: the ten
classes of the highest logits, or the one. Rows are scored for all classes at once, so what ten cost
more is drawing ten maps. Each lives in a process of its own, and only one is busy at a time;
`control` is one class against itself.
"""

from collections.abc import Callable
from pathlib import Path

from bench.apart import apart
from bench.explaining import explaining
from bench.pairs import COLUMNS, CONTROL, Pairs, in_pairs, judged
from bench.report import Figure, Part, Table
from bench.workplace import LINEAR_TAP, MODEL, Workplace, cat
from salience_service.request import EncodedImage, ExplainOrder, MethodCall, TopKTargets

TEN, MOST = 10, 1.2
METHODS = {
    "score-cam": MethodCall("score-cam", taps=(LINEAR_TAP,)),
    "rise": MethodCall("rise", {"masks": 320}),
}


def measure(place: Workplace) -> Part:
    """Both methods' cost of ten classes, with the controls."""
    taken = {name: _pairs(name, place) for name in METHODS}
    figures = [
        Figure(
            f"{name} of ten classes ÷ of one, seconds",
            pairs["ten"].cost.median,
            "",
            f"≤ {MOST}",
            judged(MOST - pairs["ten"].cost.median, pairs[CONTROL].cost.half_spread),
        )
        for name, pairs in taken.items()
    ]
    rows = [
        pairs.row(f"{method}, {name}")
        for method, each in taken.items()
        for name, pairs in each.items()
    ]
    table = Table("Pairs", COLUMNS, tuple(rows))
    return Part("many_targets", __doc__ or "", tuple(figures), (table,))


def _pairs(method: str, place: Workplace) -> dict[str, Pairs]:
    with (
        apart(_classes, place.models, method, TEN) as ten,
        apart(_classes, place.models, method, 1) as one,
    ):
        return in_pairs({"ten": ten}, one, place.pairs)


def _classes(models: Path, method: str, count: int) -> Callable[[], object]:
    order = ExplainOrder(
        MODEL, EncodedImage(cat()), (METHODS[method],), targets=(TopKTargets(count),)
    )
    return explaining(models, order)
