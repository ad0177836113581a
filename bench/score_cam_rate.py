"""Rows per second of Score-CAM, through the engine and through gRPC, beside the bare forward.

One run is a whole Score-CAM of EfficientNet-Lite0 at tap 320×7×7, 320 rows: a PNG of 451×300
in, partial maps on the way, the finished map out. `engine` iterates `Engine.explain`; `grpc`
is the Python client and `salience serve`, over loopback. The bare forward is ONNX Runtime on
the forward graph without taps: 320 masked images of the same photograph, made beforehand, in
batches of 8 (the service's batch size), with the service's session options and threads. The
clean run is work of the explainer and not counted as a row. Engine, server and bare forward
each live in a process of their own, and only one of them is busy at a time. Speed is the
subject's rows/s ÷ the bare forward's; `control` is the bare forward measured against itself
in the same way.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.apart import apart
from bench.bare import bare_forward
from bench.explaining import explaining
from bench.pairs import COLUMNS, CONTROL, in_pairs, judged
from bench.report import Figure, Part, Table
from bench.serving import serving
from bench.workplace import LINEAR_TAP, MODEL, Workplace, cat
from salience_client import Client, Finished, Method
from salience_service.request import EncodedImage, ExplainOrder, MethodCall

ROWS = 320
EXTRA_ROWS = 1
"""The clean run."""
TARGETS = {"engine": 0.95, "grpc": 0.93}


def measure(place: Workplace) -> Part:
    """Both speeds, with the control."""
    picture = cat()
    with (
        apart(_engine, place.models, picture) as engine,
        apart(bare_forward, place.models, picture, ROWS) as bare,
        serving(place.models) as served,
        Client(served.address) as client,
    ):
        runs: dict[str, Callable[[], object]] = {
            "engine": engine,
            "grpc": lambda: _through_grpc(client, picture),
        }
        taken = in_pairs(runs, bare, place.pairs)
        finished = _through_grpc(client, picture)
    room = taken[CONTROL].speed.half_spread
    figures = [
        Figure(
            f"Score-CAM through {name} ÷ bare",
            taken[name].speed.median,
            "",
            f"≥ {least} − {room:.3f}",
            judged(taken[name].speed.median - least + room, room),
        )
        for name, least in TARGETS.items()
    ]
    figures.append(Figure("control: bare ÷ bare", taken[CONTROL].speed.median, ""))
    rate = ROWS / np.median([s for each in taken.values() for s in each.baseline])
    figures.append(Figure("bare forward", float(rate), "rows/s"))
    figures.append(
        Figure(
            "share of the server's time on the device",
            finished.compute_seconds / finished.total_seconds,
            "",
        )
    )
    table = Table("Pairs", COLUMNS, tuple(pairs.row(name) for name, pairs in taken.items()))
    return Part("score_cam_rate", __doc__ or "", tuple(figures), (table,))


def _engine(models: Path, picture: bytes) -> Callable[[], object]:
    """Whole explanations in process."""
    method = MethodCall("score-cam", taps=(LINEAR_TAP,))
    explained = explaining(models, ExplainOrder(MODEL, EncodedImage(picture), (method,)))

    def run() -> None:
        finished = explained()
        assert finished.rows == ROWS + EXTRA_ROWS, finished

    return run


def _through_grpc(client: Client, picture: bytes) -> Finished:
    explanation = client.explain(
        picture, model=MODEL, methods=Method("score-cam", taps=[LINEAR_TAP]), partial_maps=True
    )
    assert explanation.finished.rows == ROWS + EXTRA_ROWS, explanation.finished
    return explanation.finished
