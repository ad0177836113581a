"""What telemetry costs an explanation: seconds with all of it on ÷ seconds with all of it off.

A Fake-CAM, whose device work is one forward, and a Grad-CAM: a PNG of 224×224 in, a float32 map
of 224×224 out, no partial maps, EfficientNet-Lite0, through the Python client and two `salience
serve` over loopback, one request at a time, in pairs of random order, four times as many as asked
for, since each is short. On: metrics, scraped every second; every call a trace, of client and
server, sent to a collector in a process of its own; a JSON line for each explanation. Off: neither
of these, and no line below "error". `control` is off ÷ off.
"""

import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryFile
from typing import Any

import grpc
import numpy as np

from bench.pairs import COLUMNS, CONTROL, Pairs, in_pairs, judged
from bench.report import Figure, Part, Table
from bench.serving import serving
from bench.workplace import MODEL, Workplace, small_cat
from salience_client import Client
from salience_service.config.tracing import TracingConfig
from salience_service.telemetry.tracing import tracing

METHODS = ("fake-cam", "grad-cam")
TIMES_PAIRS = 4
MOST = 1.02
METRICS = "127.0.0.1:19464"
"""A fixed port: `salience serve` does not say which one it was given."""
OFF = {"logging.level": "error"}


def measure(place: Workplace) -> Part:
    """The ratio for each method."""
    with ExitStack() as stack:
        log = stack.enter_context(TemporaryFile())
        endpoint = stack.enter_context(_collecting())
        on = {
            "metrics.address": METRICS,
            "tracing.endpoint": endpoint,
            "tracing.sample_ratio": 1.0,
            "logging.format": "json",
        }
        watched = stack.enter_context(serving(place.models, log, **on))
        silent = stack.enter_context(serving(place.models, log, **OFF))
        tracer = stack.enter_context(tracing(TracingConfig(endpoint=endpoint, sample_ratio=1)))
        loud = stack.enter_context(Client(watched.address, tracer=tracer))
        quiet = stack.enter_context(Client(silent.address))
        taken = {
            method: in_pairs(
                {"on": _explaining(loud, method)},
                _explaining(quiet, method),
                TIMES_PAIRS * place.pairs,
            )
            for method in METHODS
        }
        log.seek(0)
        lines = log.read().count(b'"explained"')
    if lines < TIMES_PAIRS * place.pairs * len(METHODS):
        raise RuntimeError(f"telemetry was not on: {lines} lines of explanations")
    figures = [figure for method, pairs in taken.items() for figure in _figures(method, pairs)]
    rows = tuple(
        each.row(f"{method}, {name}")
        for method, pairs in taken.items()
        for name, each in pairs.items()
    )
    return Part("telemetry", __doc__ or "", tuple(figures), (Table("Pairs", COLUMNS, rows),))


def _explaining(client: Client, method: str) -> Callable[[], object]:
    picture = small_cat()

    def run() -> object:
        return client.explain(picture, model=MODEL, methods=method)

    return run


def _figures(method: str, pairs: dict[str, Pairs]) -> Iterator[Figure]:
    on, control = pairs["on"], pairs[CONTROL].cost
    ratio = on.cost.median
    met = judged(MOST - ratio, control.half_spread)
    yield Figure(f"{method}: on ÷ off, median", ratio, "", f"≤ {MOST}", met)
    added = 1e3 * float(np.median(np.array(on.subject) - np.array(on.baseline)))
    yield Figure(f"{method}: on − off, median", added, "ms")
    yield Figure(f"{method}: off, median", 1e3 * float(np.median(on.baseline)), "ms")
    yield Figure(f"{method}: control, off ÷ off", control.median, "")


@contextmanager
def _collecting() -> Iterator[str]:
    """A collector in a process of its own, which scrapes too; gives its endpoint."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_collect, args=(there,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


class _Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers every call with an empty message, which is what OTLP says for "taken"."""

    def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        return grpc.unary_unary_rpc_method_handler(lambda *_: b"")


def _collect(link: Connection) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((_Everything(),))
    link.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    while True:
        time.sleep(1)
        with suppress(OSError):  # The server is not there yet, or no longer.
            urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=5).read()
