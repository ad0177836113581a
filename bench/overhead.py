"""What gRPC adds to one explanation: milliseconds through the client less those of the engine.

A Fake-CAM, whose device work is one forward, and a Grad-CAM: a PNG of 224×224 in, a float32 map
of 224×224 out, no partial maps, EfficientNet-Lite0. `grpc` is the Python client and `salience
serve` over loopback, one request at a time.

The engine's time is that of the same call, by the server's own clock (`Finished.total_seconds`,
from the order to the last event), and the figure is the median of the differences. Until 2
December 2026 it was the time of an engine in another process, called next to it. Runs of a network
differ by more than what is looked for, call by call and process by process, and the difference of
two such draws told 4.0 to 6.5 ms of the same code. That engine is still here (`engine apart`), in
pairs of random order, four times as many as asked for, over several draws of freshly started
processes: the server's engine should take no longer than it.

`bare gRPC` is a call of as many bytes to a server that does nothing.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from bench.apart import apart
from bench.bare_grpc import bare_call
from bench.crowd import PERCENTILES, percentiles
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
DRAWS, QUICK_DRAWS = 6, 1
MAP_BYTES = 4 * 224 * 224
GRPC, BARE = "grpc", "bare gRPC"


class _Taken:
    """All that was timed of one method, over all draws. In seconds."""

    def __init__(self) -> None:
        self.draws: list[dict[str, Pairs]] = []
        self.inside: list[float] = []
        """Of the calls through gRPC, pair by pair, in the server's engine."""

    @property
    def outside(self) -> list[float]:
        """Of the same calls, all else."""
        whole = self.pairs(GRPC).subject
        return [took - inside for took, inside in zip(whole, self.inside, strict=True)]

    def pairs(self, name: str) -> Pairs:
        """Those of all draws, beside the engine apart."""
        each = [draw[name] for draw in self.draws]
        return Pairs(
            tuple(s for pairs in each for s in pairs.subject),
            tuple(s for pairs in each for s in pairs.baseline),
        )


def measure(place: Workplace) -> Part:
    """What is added to each method."""
    draws = QUICK_DRAWS if place.quick else DRAWS
    pairs = TIMES_PAIRS * place.pairs // draws
    taken = {method: _Taken() for method in METHODS}
    with bare_call(small_cat(), MAP_BYTES) as bare:
        for draw in range(draws):
            with serving(place.models) as served, Client(served.address) as client:
                for method, all_of_it in taken.items():
                    _draw(place, client, bare, method, pairs, draw, all_of_it)
    figures = [figure for method, each in taken.items() for figure in _figures(method, each)]
    added = [
        (method, *(f"{1e3 * seconds:.2f}" for seconds in percentiles(each.outside)))
        for method, each in taken.items()
    ]
    rows = [
        each.pairs(name).row(f"{method}, {name}")
        for method, each in taken.items()
        for name in (GRPC, CONTROL)
    ]
    columns = ("method", *(f"{share}th percentile ms" for share in PERCENTILES))
    tables = (Table("Added", columns, tuple(added)), Table("Pairs", COLUMNS, tuple(rows)))
    return Part("overhead", __doc__ or "", tuple(figures), tables)


def _draw(
    place: Workplace,
    client: Client,
    bare: Callable[[], object],
    method: str,
    pairs: int,
    seed: int,
    taken: _Taken,
) -> None:
    picture = small_cat()
    order = ExplainOrder(MODEL, EncodedImage(picture), (MethodCall(method),), partial_maps=False)

    inside = []

    def through_grpc() -> float:
        began = time.perf_counter()
        explanation = client.explain(picture, model=MODEL, methods=method)
        took = time.perf_counter() - began
        inside.append(explanation.finished.total_seconds)
        return took

    with apart(explaining, place.models, order) as engine:
        runs: dict[str, Callable[[], object]] = {GRPC: through_grpc, BARE: bare}
        taken.draws.append(in_pairs(runs, engine, pairs, seed))
    taken.inside.extend(inside[1:])  # The first was the run before all pairs.


def _median(seconds: Sequence[float]) -> float:
    """Milliseconds."""
    return 1e3 * float(np.median(seconds))


def _figures(method: str, taken: _Taken) -> tuple[Figure, ...]:
    added = _median(taken.outside)
    beside = taken.pairs(GRPC)
    apart_ms = _median(beside.baseline)
    less_apart = [s - b for s, b in zip(beside.subject, beside.baseline, strict=True)]
    return (
        Figure(
            f"{method}: gRPC − engine, median", added, "ms", f"≤ {MOST_MS:.0f}", added <= MOST_MS
        ),
        Figure(f"{method}: a bare gRPC call, median", _median(taken.pairs(BARE).subject), "ms"),
        Figure(f"{method}: engine, in the server, median", _median(taken.inside), "ms"),
        Figure(f"{method}: engine apart, median", apart_ms, "ms"),
        Figure(f"{method}: gRPC − engine apart, median", _median(less_apart), "ms"),
    )
