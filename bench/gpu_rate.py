"""Score-CAM of a network of ResNet-50's shape on a GPU: rows/s beside the bare provider's.

Only with `--provider cuda` or `tensorrt`, where ONNX Runtime has that provider; else never run.
Random weights, tap 2048×7×7, 2,048 rows, a PNG of 451×300 in, the finished map out, through the
Python client and `salience serve` over loopback. The bare provider is ONNX Runtime alone on the
forward graph, ready-made masked images in the host's memory, at the best batch size of a sweep, at
which the service runs too. Server and bare provider have a process each, and only one of them is
busy at a time; `control` is the bare provider against itself. Seconds a map stand beside those of
the Opti-CAM paper (Zhang et al. 2024): 1.9 s for Score-CAM of ResNet-50.
"""

from pathlib import Path

import numpy as np

from bench.apart import apart, in_a_fresh_process
from bench.bare import FULL_BATCHES_OF, bare_forward
from bench.networks import Network
from bench.pairs import COLUMNS, CONTROL, in_pairs, judged, per_thousand
from bench.report import Figure, Part, Skipped, Table
from bench.serving import serving
from bench.sweep import best_of, sweep, sweep_table
from bench.workplace import Workplace, cat
from salience_client import Client, Finished, Method
from salience_service.runtime.providers import PROVIDERS

RESNET_50 = Network("resnet-50", "stages", ())
BATCH_SIZES = (16, 32, 64, 128)
LEAST, PAPER_SECONDS = 0.9, 1.9
CLEAN_RUN = 1


def measure(place: Workplace) -> Part:
    """Speed and seconds, with the control."""
    _refuse_without_gpu(place.provider)
    in_a_fresh_process(export_resnet_50, place.root)
    models, picture = place.root / RESNET_50.name, cat()
    rounds = 2 if place.quick else 7
    rates = sweep(models, RESNET_50, picture, BATCH_SIZES, place.provider, rounds)
    batch = best_of(rates)
    with (
        apart(
            bare_forward, models, RESNET_50, picture, batch, 4 * FULL_BATCHES_OF, place.provider
        ) as bare,
        serving(models, provider=place.provider, batch_size=batch) as served,
        Client(served.address, timeout=600) as client,
    ):

        def score_cam() -> Finished:
            return client.explain(picture, model=RESNET_50.name, methods=SCORE_CAM).finished

        rows = score_cam().rows - CLEAN_RUN
        taken = in_pairs(
            {"Score-CAM": per_thousand(score_cam, rows)},
            per_thousand(bare, 4 * FULL_BATCHES_OF),
            place.pairs,
        )
    speed, room = taken["Score-CAM"].speed.median, taken[CONTROL].speed.half_spread
    seconds = float(np.median(taken["Score-CAM"].subject)) * rows / 1000
    return Part(
        "gpu_rate",
        __doc__ or "",
        (
            Figure(
                f"Score-CAM through gRPC ÷ bare, {place.provider}, batch {batch}",
                speed,
                "",
                f"≥ {LEAST}",
                judged(speed - LEAST, room),
            ),
            Figure("control: bare ÷ bare", taken[CONTROL].speed.median, ""),
            Figure(f"seconds a map; the paper's: {PAPER_SECONDS}", seconds, "s"),
            Figure("rows that ran, of 2,048", rows, ""),
        ),
        (
            sweep_table(RESNET_50, rates),
            Table("Seconds of 1,000 rows", COLUMNS, tuple(p.row(n) for n, p in taken.items())),
        ),
    )


SCORE_CAM = Method("score-cam", RESNET_50.score_tap)


def export_resnet_50(root: Path) -> None:
    """Exports the network into a models directory of its own that has none yet."""
    from salience_export import Destination, ModelContract, export_torch
    from salience_service.bundle.manifest import OutputKind
    from tests.support.contracts import contract
    from tests.support.families import FAMILIES

    models = root / RESNET_50.name
    if not (models / RESNET_50.name / "1").exists():
        network = FAMILIES["ResNet-50"].full.network()
        about = ModelContract(contract(), OutputKind.SOFTMAX)
        export_torch(network, about, Destination(models, RESNET_50.name), (RESNET_50.score_tap,))


def _refuse_without_gpu(provider: str) -> None:
    import onnxruntime as ort

    if provider == "cpu":
        raise Skipped("never run: it is for --provider cuda or tensorrt")
    if PROVIDERS[provider] not in ort.get_available_providers():
        raise Skipped(f"never run: this ONNX Runtime has no {PROVIDERS[provider]}")
