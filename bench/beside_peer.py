"""One method of a peer beside ours: at its best batch size and as it comes, on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.pairs import COLUMNS, CONTROL, Spread, in_pairs
from bench.peers import TUNED, as_it_comes, prepared, running
from bench.report import Figure, Part, Table
from bench.workplace import Workplace, cat
from salience_service.interpolation import upsample

CORRELATION = "correlation of our map with that of"


@dataclass(frozen=True)
class Beside:
    """Names of `bench.peer_process.LIBRARIES`, to be compared.

    Attributes:
        tuned: the peer at its best; its batch size is the best of a sweep.
        plain: the peer as it comes, with its own batch size and the system's allocator.
        ours: the same method of ours, in the engine's own configuration.
    """

    tuned: str
    plain: str
    ours: str
    sizes: Sequence[int] = (8, 16, 32, 64)

    def measured(self, place: Workplace) -> Part:
        """The speed-up over the peer at its best, with its sweep, its plain seconds, the maps."""
        with TemporaryDirectory() as scratch:
            image = Path(scratch) / "image.npy"
            np.save(image, prepared(place, cat()))
            plain = self._plain(place, image)
            with (
                running(self.tuned, place, image, TUNED) as theirs,
                running(self.ours, place, image, {}) as ours,
            ):
                sweep = {}
                for theirs.batch_size in self.sizes[:2] if place.quick else self.sizes:
                    theirs.run()
                    times = [theirs.run() for _ in range(1 if place.quick else 3)]
                    sweep[theirs.batch_size] = float(np.median(times))
                theirs.batch_size = min(sweep, key=lambda size: sweep[size])
                taken = in_pairs({self.tuned: theirs.run}, ours.run, place.pairs)
                maps = [Path(scratch) / "theirs.npy", Path(scratch) / "ours.npy"]
                theirs.run(str(maps[0]))
                ours.run(str(maps[1]))
            alike = _correlation(*(np.load(path) for path in maps))
        figures = (
            Figure(
                f"seconds of {self.tuned}, batch {theirs.batch_size} ÷ ours",
                taken[self.tuned].cost.median,
                "×",
            ),
            Figure(f"control of {self.tuned}: ours ÷ ours", taken[CONTROL].cost.median, "×"),
            as_it_comes(self.plain, plain),
            Figure(f"seconds of {self.ours}", float(np.median(taken[CONTROL].baseline)), "s"),
            Figure(f"{CORRELATION} {self.tuned}", alike, ""),
        )
        rows = tuple(pairs.row(name) for name, pairs in taken.items())
        tables = (
            Table(f"{self.tuned}: pairs; the baseline is ours", COLUMNS, rows),
            self._sweep_table(sweep),
            Table(
                f"{self.plain}, as it comes, never our speed-up",
                ("median ± half the quartiles' distance", "runs"),
                ((f"{Spread.of(plain)} s", str(len(plain))),),
            ),
        )
        return Part("", "", figures, tables)

    def _plain(self, place: Workplace, image: Path) -> Sequence[float]:
        with running(self.plain, place, image, {}) as library:
            library.run()
            return [library.run() for _ in range(1 if place.quick else 5)]

    def _sweep_table(self, sweep: Mapping[int, float]) -> Table:
        columns = tuple(f"batch {size}" for size in sweep)
        row = tuple(f"{seconds:.2f}" for seconds in sweep.values())
        return Table(f"{self.tuned}, seconds by batch size (median)", columns, (row,))


def _correlation(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Pearson's, at the size of their map."""
    ours = upsample(ours.astype(np.float32), *theirs.shape)
    return float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1])
