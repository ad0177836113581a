"""What gRPC adds to one explanation: milliseconds through the client less those of the engine.

A Fake-CAM, whose device work is one forward, and a Grad-CAM: a PNG of 224×224 in, a float32 map
of 224×224 out, no partial maps, EfficientNet-Lite0. `grpc` is the Python client and `salience
serve` over loopback, `engine` iterates `Engine.explain`; each in a process of its own, one request
at a time, in pairs of random order, four times as many as asked for, since each is short. The
figure is the median of the differences, pair by pair; `control` is the engine less the engine.
"""

from collections.abc import Callable

import numpy as np

from bench.apart import apart
from bench.explaining import explaining
from bench.pairs import COLUMNS, CONTROL, Pairs, in_pairs
from bench.report import Figure, Part, Table
from bench.serving import serving
from bench.workplace import MODEL, Workplace, small_cat
from salience_client import Client
from salience_service.request import EncodedImage, ExplainOrder, MethodCall

METHODS = ("fake-cam", "grad-cam")
MOST_MS = 5.0
TIMES_PAIRS = 4


def measure(place: Workplace) -> Part:
    """The difference for each method."""
    with serving(place.models) as served, Client(served.address) as client:
        taken = {method: _pairs(place, client, method) for method in METHODS}
    figures = [
        figure
        for method, pairs in taken.items()
        for figure in (
            _figure(method, pairs["grpc"]),
            Figure(
                f"{method}: engine, median", 1e3 * float(np.median(pairs["grpc"].baseline)), "ms"
            ),
            Figure(f"{method}: control, engine − engine", _added(pairs[CONTROL])[0], "ms"),
        )
    ]
    rows = [
        pairs.row(f"{method}, {name}")
        for method, each in taken.items()
        for name, pairs in each.items()
    ]
    added = [
        (method, name, *(f"{ms:.2f}" for ms in _added(pairs)))
        for method, each in taken.items()
        for name, pairs in each.items()
    ]
    columns = ("method", "less the engine", "median ms", "95th percentile ms")
    tables = (Table("Added", columns, tuple(added)), Table("Pairs", COLUMNS, tuple(rows)))
    return Part("overhead", __doc__ or "", tuple(figures), tables)


def _pairs(place: Workplace, client: Client, method: str) -> dict[str, Pairs]:
    picture = small_cat()
    order = ExplainOrder(MODEL, EncodedImage(picture), (MethodCall(method),), partial_maps=False)

    def through_grpc() -> object:
        return client.explain(picture, model=MODEL, methods=method)

    runs: dict[str, Callable[[], object]] = {"grpc": through_grpc}
    with apart(explaining, place.models, order) as engine:
        return in_pairs(runs, engine, TIMES_PAIRS * place.pairs)


def _added(pairs: Pairs) -> tuple[float, float]:
    """Milliseconds beyond the baseline: the median of the pairs, and the 95th percentile."""
    added = 1e3 * (np.array(pairs.subject) - np.array(pairs.baseline))
    return float(np.median(added)), float(np.percentile(added, 95))


def _figure(method: str, pairs: Pairs) -> Figure:
    median, _ = _added(pairs)
    return Figure(
        f"{method}: gRPC − engine, median", median, "ms", f"≤ {MOST_MS:.0f}", median <= MOST_MS
    )
