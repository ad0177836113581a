"""Seconds of a whole Ablation-CAM of EfficientNet-Lite0, tap 1280×7×7: pytorch-grad-cam's ÷ ours.

The tap lies behind ReLU6, so that both set channels to zero, one of its 1,280 at a time. Ours runs
the network once and its tail for every channel that is not zero everywhere already,
pytorch-grad-cam the whole network for every channel. Each runs in a process of its own
(bench/peer_process.py) on the same prepared image and class, from the image to the finished map,
and only one is busy at a time; theirs with progress bars off, the allocator tuned as in `peers`,
and the better of batches of 8 and 32. A run of theirs takes most of a minute, so few pairs are
taken; `control` is ours against ours.
"""

import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.pairs import COLUMNS, CONTROL, in_pairs, judged
from bench.peers import TUNED, prepared, running
from bench.report import Figure, Part, Skipped, Table
from bench.workplace import Workplace, cat
from salience_service.interpolation import upsample

LEAST, PAIRS = 100, 5
BATCH_SIZES = (8, 32)
THEIRS, OURS = "pytorch-grad-cam, ablation", "salience, ablation"


def measure(place: Workplace) -> Part:
    """The speed-up, and the maps' correlation."""
    if not importlib.util.find_spec("pytorch_grad_cam"):
        raise Skipped("pytorch-grad-cam is not installed; see requirements-no-deps.txt")
    with TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.npy"
        np.save(image, prepared(place, cat()))
        with (
            running(THEIRS, place, image, TUNED) as theirs,
            running(OURS, place, image, {}) as ours,
        ):
            seconds = {}
            for theirs.batch_size in BATCH_SIZES:
                seconds[theirs.batch_size] = theirs.run()
            theirs.batch_size = min(seconds, key=lambda size: seconds[size])
            taken = in_pairs({THEIRS: theirs.run}, ours.run, min(place.pairs, PAIRS))
            maps = [Path(scratch) / "theirs.npy", Path(scratch) / "ours.npy"]
            theirs.run(str(maps[0]))
            ours.run(str(maps[1]))
        their_map, our_map = (np.load(path) for path in maps)
    pair = taken[THEIRS].cost
    agreement = float(
        np.corrcoef(their_map.ravel(), upsample(our_map, *their_map.shape).ravel())[0, 1]
    )
    return Part(
        "ablation_rate",
        __doc__ or "",
        (
            Figure(
                f"seconds of {THEIRS}, batch {theirs.batch_size} ÷ ours",
                pair.median,
                "×",
                f"≥ {LEAST}",
                judged(pair.median / LEAST - 1, taken[CONTROL].cost.half_spread),
            ),
            Figure("control: ours ÷ ours", taken[CONTROL].cost.median, "×"),
            Figure("correlation of the maps", agreement, ""),
        ),
        (Table("Pairs; the baseline is ours", COLUMNS, tuple(p.row(n) for n, p in taken.items())),),
    )
