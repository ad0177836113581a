"""Whole Score-CAMs of EfficientNet-Lite0, tap 320×7×7: ours, pytorch-grad-cam's, torch-cam's.

Each library runs in a process of its own (bench/peer_process.py) on the same prepared image,
class and torch weights, from the image to the finished map, the clean run included; only one is
busy at a time. Ours is the engine in process, in its own configuration.

`tuned`: the peers' allocator keeps memory instead of returning it (MALLOC_MMAP_THRESHOLD_ and
MALLOC_TRIM_THRESHOLD_ of 4 GiB), progress bars are off, and each is taken at its best batch size
of the sweep below. Their seconds ÷ ours is the speed-up that counts, from interleaved pairs in
random order; `control` is ours against ours. `as they come` is the libraries' default batch
size and allocator: printed beside, never quoted as a speed-up.

Agreement: Pearson's correlation of the maps at 224×224, five photographs, the predicted class.
As they come, pytorch-grad-cam upsamples with align_corners on, and torch-cam scales masks to
[0, 1] before it upsamples them; `matched` changes that one thing in each to what the paper and
we do (align_corners off; upsample, then scale). Ours: score=logit, weights=softmax, fill mean,
which is their multiplication of the normalised image.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.pairs import COLUMNS, CONTROL, Spread, in_pairs, judged
from bench.report import Figure, Part, Skipped, Table
from bench.workplace import Workplace, cat, quick_photographs
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.interpolation import upsample
from salience_service.request import EncodedImage

PEERS = {"pytorch-grad-cam": "pytorch_grad_cam", "torch-cam": "torchcam"}
BATCH_SIZES = (8, 16, 32, 64, 128)
LEAST_SPEED_UP, LEAST_CORRELATION = 2.3, 0.999
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "TQDM_DISABLE": "1",
}
PHOTOGRAPHS = 5
TIGER_CAT = 282


@dataclass
class Library:
    """A running process of one library."""

    process: subprocess.Popen[str]
    image: Path
    target: int = TIGER_CAT
    batch_size: int | None = field(default=None)

    def run(self, saved: str = "") -> float:
        """One Score-CAM; seconds."""
        asked = {
            "image": str(self.image),
            "target": self.target,
            "batch_size": self.batch_size,
            "map": saved,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the library's process ended: {self.process.wait()}")
        return float(json.loads(line)["seconds"])


def measure(place: Workplace) -> Part:
    """Speed-up, sweep, times as they come, and agreement."""
    missing = [name for name, module in PEERS.items() if not importlib.util.find_spec(module)]
    if missing:
        raise Skipped(f"not installed: {', '.join(missing)}; the extra `peers` has them")
    with TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.npy"
        np.save(image, prepared(place, cat()))
        sweep = {name: _sweep(place, name, image) for name in PEERS}
        best = {name: min(times, key=lambda size: times[size]) for name, times in sweep.items()}
        plain = {name: _as_it_comes(place, name, image) for name in PEERS}
        speed = _speed(place, image, best)
        agreement = _agreement(place, Path(scratch))
    return Part(
        "peers",
        __doc__ or "",
        (*speed.figures, *(as_it_comes(*each) for each in plain.items()), *agreement.figures),
        (*speed.tables, _sweep_table(sweep), _plain_table(plain), *agreement.tables),
    )


@contextmanager
def running(
    name: str, place: Workplace, image: Path, environment: Mapping[str, str]
) -> Iterator[Library]:
    """A library's process, its complaints on our standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.peer_process", name, str(place.models)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield Library(process, image)
    finally:
        process.kill()
        process.wait()


def as_it_comes(name: str, taken: Sequence[float]) -> Figure:
    """The median of a library's seconds in its own configuration: no measure of our speed."""
    return Figure(f"seconds of {name} as it comes", float(np.median(taken)), "s")


def prepared(place: Workplace, picture: bytes) -> np.ndarray:
    """The picture as the model takes it, float32 [C, H, W]."""
    return prepare(EncodedImage(picture), place.manifest.input, ImageLimits(2**22, 10**7)).tensor


def _sweep(place: Workplace, name: str, image: Path) -> dict[int, float]:
    """Median seconds by batch size, tuned; each size is run once before that."""
    sizes, runs = (BATCH_SIZES[:2], 1) if place.quick else (BATCH_SIZES, 3)
    times = {}
    with running(name, place, image, TUNED) as library:
        for library.batch_size in sizes:
            library.run()
            times[library.batch_size] = float(np.median([library.run() for _ in range(runs)]))
    return times


def _as_it_comes(place: Workplace, name: str, image: Path) -> Sequence[float]:
    """Seconds of some runs with the library's own batch size and the system's allocator."""
    with running(name, place, image, {}) as library:
        library.run()
        return [library.run() for _ in range(1 if place.quick else 5)]


def _speed(place: Workplace, image: Path, best: Mapping[str, int]) -> Part:
    """Pairs of each peer at its best, and ours."""
    with ExitStack() as stack:
        ours = stack.enter_context(running("salience", place, image, {}))
        peers = {
            f"{name}, batch {size}": stack.enter_context(running(name, place, image, TUNED))
            for name, size in best.items()
        }
        for library, size in zip(peers.values(), best.values(), strict=True):
            library.batch_size = size
        runs = {name: library.run for name, library in peers.items()}
        taken = in_pairs(runs, ours.run, place.pairs)
    room = taken[CONTROL].cost.half_spread
    figures = [
        Figure(
            f"seconds of {name}, tuned ÷ ours",
            taken[name].cost.median,
            "×",
            f"≥ {LEAST_SPEED_UP}",
            judged(taken[name].cost.median - LEAST_SPEED_UP, room),
        )
        for name in peers
    ]
    figures.append(Figure("control: ours ÷ ours", taken[CONTROL].cost.median, "×"))
    figures.append(Figure("seconds of ours", float(np.median(taken[CONTROL].baseline)), "s"))
    rows = tuple(pairs.row(name) for name, pairs in taken.items())
    return Part("", "", tuple(figures), (Table("Pairs; the baseline is ours", COLUMNS, rows),))


def _agreement(place: Workplace, scratch: Path) -> Part:
    """Correlations with ours, photograph by photograph."""
    try:
        photographs = quick_photographs(1 if place.quick else PHOTOGRAPHS)
    except Skipped as reason:
        table = Table("Correlation of maps", ("skipped",), ((str(reason),),))
        return Part("", "", tables=(table,))
    images = []
    for number, photograph in enumerate(photographs):
        images.append(scratch / f"image-{number}.npy")
        np.save(images[-1], prepared(place, photograph.data))
    targets = [photograph.true_class for photograph in photographs]
    names = [name for peer in PEERS for name in (peer, f"{peer}, matched")]
    ours = _maps("salience", place, images, targets)
    found = {
        name: [
            float(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1])
            for mine, theirs in zip(ours, _maps(name, place, images, targets), strict=True)
        ]
        for name in names
    }
    figures = [
        Figure(
            f"least correlation with {name}, of {len(photographs)}",
            min(values),
            "",
            f"≥ {LEAST_CORRELATION}" if name.endswith("matched") else "",
            min(values) >= LEAST_CORRELATION if name.endswith("matched") else None,
        )
        for name, values in found.items()
    ]
    rows = [(name, *(f"{value:.6f}" for value in values)) for name, values in found.items()]
    columns = ("library", *(photograph.name for photograph in photographs))
    table = Table("Correlation of our map with theirs", columns, tuple(rows))
    return Part("", "", tuple(figures), (table,))


def _maps(
    name: str, place: Workplace, images: Sequence[Path], targets: Sequence[int]
) -> list[np.ndarray]:
    """One library's maps at 224×224."""
    maps = []
    with running(name, place, images[0], TUNED) as library:
        for library.image, library.target in zip(images, targets, strict=True):
            saved = library.image.with_suffix(".map.npy")
            library.run(str(saved))
            maps.append(upsample(np.load(saved).astype(np.float32), 224, 224))
    return maps


def _sweep_table(sweep: Mapping[str, Mapping[int, float]]) -> Table:
    sizes = tuple(next(iter(sweep.values())))
    rows = tuple((name, *(f"{t[size]:.2f}" for size in sizes)) for name, t in sweep.items())
    columns = ("library", *(f"batch {size}" for size in sizes))
    return Table("Tuned, seconds by batch size (median)", columns, rows)


def _plain_table(plain: Mapping[str, Sequence[float]]) -> Table:
    rows = tuple((name, f"{Spread.of(t)} s", str(len(t))) for name, t in plain.items())
    columns = ("library", "median ± half the quartiles' distance", "runs")
    return Table(
        "As they come (default batch size and allocator), never our speed-up", columns, rows
    )
