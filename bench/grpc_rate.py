"""Rows per second of whole explanations through gRPC, beside the bare forward at its best batch.

For each network: the bare forward is ONNX Runtime alone on the forward graph without taps, ready-
made masked images of one photograph in full batches, one call after the other with ONNX Runtime's
own threads; its batch size is the best of a sweep. The service runs as it comes. One run of a
subject is a whole explanation, a PNG of 451×300 in, partial maps on the way, the finished map out,
through the Python client and `salience serve` over loopback: Score-CAM, PCAM±, RISE, and insertion
with deletion (a Fake-CAM, which takes no rows, scored by both curves). Rows are those that ran; the
clean run is work of the explainer and not counted as one. `engine` is the same Score-CAM through
`Engine.explain`. Server, engine and bare forward have a process each, and only one of them is busy
at a time. Speed is the subject's rows/s ÷ the bare forward's, of pairs in random order; `control`
is the bare forward against itself.
The service runs calls of one thread side by side, which is faster; so does `bare, side by side`, at
the service's batch size: what the service adds to the very same calls stands beside it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.apart import apart
from bench.bare import FULL_BATCHES_OF, bare_forward, bare_side_by_side
from bench.explaining import DEFAULTS, explaining
from bench.networks import NETWORKS, Network
from bench.pairs import COLUMNS, CONTROL, Pairs, in_pairs, judged, per_thousand
from bench.report import Figure, Part, Skipped, Table
from bench.serving import serving
from bench.sweep import best_of, sweep, sweep_table
from bench.workplace import Workplace, cat
from salience_client import Client, Finished, Method
from salience_client.request import Score
from salience_service.request import EncodedImage, ExplainOrder, MethodCall

MASKS, QUICK_MASKS = 240, 48
CLEAN_RUN = 1
CURVES = "insertion and deletion"
TARGETS = {"Score-CAM": 0.97, "PCAM±": 0.97, "RISE": 0.95, CURVES: 0.95}
ENGINE = "Score-CAM, engine"
SIDE_BY_SIDE = "bare, side by side"
QUICK_SIZES = (4, 8)


def measure(place: Workplace) -> Part:
    """Every network that is here."""
    found = [_network(place, NETWORKS[name]) for name in place.networks]
    return Part(
        "grpc_rate",
        __doc__ or "",
        tuple(figure for part in found for figure in part.figures),
        tuple(table for part in found for table in part.tables),
    )


def _network(place: Workplace, network: Network) -> Part:
    """One network's sweep, pairs and figures."""
    try:
        models = place.models_of(network)
    except Skipped as reason:
        return Part("", "", tables=(Table(network.name, ("skipped",), ((str(reason),),)),))
    picture = cat()
    if place.quick:
        network = replace(network, score_tap=network.poly_taps[0], poly_taps=network.poly_taps[:1])
        rates = sweep(models, network, picture, QUICK_SIZES, rounds=1)
    else:
        rates = sweep(models, network, picture)
    batch = best_of(rates)
    taken = _pairs(place, models, network, picture, batch)
    rows = tuple(pairs.row(name) for name, pairs in taken.items())
    title = f"{network.name}, bare at batch {batch}, seconds of 1,000 rows"
    return Part(
        "",
        "",
        tuple(_figures(network, batch, taken)),
        (sweep_table(network, rates), Table(title, COLUMNS, rows)),
    )


def _pairs(
    place: Workplace, models: Path, network: Network, picture: bytes, batch: int
) -> dict[str, Pairs]:
    """Seconds of a thousand rows, each subject beside the bare forward."""
    asked = _methods(network, QUICK_MASKS if place.quick else MASKS)
    score_cam = MethodCall("score-cam", taps=(network.score_tap,))
    order = ExplainOrder(network.name, EncodedImage(picture), (score_cam,))
    with (
        apart(bare_forward, models, network, picture, batch, FULL_BATCHES_OF) as bare,
        apart(
            bare_side_by_side, models, network, picture, DEFAULTS.masked_batch_size, FULL_BATCHES_OF
        ) as side_by_side,
        apart(explaining, models, order) as engine,
        serving(models) as served,
        Client(served.address, timeout=600) as client,
    ):
        runs = {name: _run(client, network, picture, each) for name, each in asked.items()}
        rows = {name: run().rows - CLEAN_RUN for name, run in runs.items()}
        subjects = {name: per_thousand(run, rows[name]) for name, run in runs.items()}
        subjects[ENGINE] = per_thousand(engine, rows["Score-CAM"])
        subjects[SIDE_BY_SIDE] = per_thousand(side_by_side, FULL_BATCHES_OF)
        return in_pairs(subjects, per_thousand(bare, FULL_BATCHES_OF), place.pairs)


def _methods(network: Network, masks: int) -> dict[str, tuple[Method, tuple[Score, ...]]]:
    """What is asked by name: the method, and its scores."""
    return {
        "Score-CAM": (Method("score-cam", network.score_tap), ()),
        "PCAM±": (Method("poly-cam", network.poly_taps, weights="plus-minus"), ()),
        "RISE": (Method("rise", masks=masks), ()),
        CURVES: (Method("fake-cam"), ("insertion-deletion",)),
    }


def _run(
    client: Client, network: Network, picture: bytes, asked: tuple[Method, tuple[Score, ...]]
) -> Callable[[], Finished]:
    method, scores = asked

    def run() -> Finished:
        return client.explain(
            picture, model=network.name, methods=method, scores=scores, partial_maps=True
        ).finished

    return run


def _figures(network: Network, batch: int, taken: dict[str, Pairs]) -> list[Figure]:
    room = taken[CONTROL].speed.half_spread
    figures = [
        Figure(
            f"{network.name}: {name} through gRPC ÷ bare",
            taken[name].speed.median,
            "",
            f"≥ {least} − {room:.3f}",
            judged(taken[name].speed.median - least + room, room),
        )
        for name, least in TARGETS.items()
    ]
    through, engine = taken["Score-CAM"], taken[ENGINE]
    same_round = Pairs(through.subject, engine.subject)
    beside = taken[SIDE_BY_SIDE]
    plain = {
        f"{name} through gRPC ÷ bare, side by side": Pairs(
            taken[name].subject, beside.subject
        ).speed.median
        for name in TARGETS
    }
    plain |= {
        "bare, side by side ÷ bare": beside.speed.median,
        "Score-CAM through the engine ÷ bare": engine.speed.median,
        "Score-CAM through gRPC ÷ through the engine": same_round.speed.median,
        "control: bare ÷ bare": taken[CONTROL].speed.median,
        "control's half spread": room,
    }
    figures += [Figure(f"{network.name}: {name}", value, "") for name, value in plain.items()]
    rate = 1000 / np.median([s for pairs in taken.values() for s in pairs.baseline])
    figures.append(Figure(f"{network.name}: bare forward, batch {batch}", float(rate), "rows/s"))
    return figures
