"""Interleaved pairs: two ways to do the same work, timed next to each other in random order."""

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Run = Callable[[], object]
CONTROL = "control"
"""The name of the baseline measured against itself."""
REST_SECONDS = 0.05
"""Between two timings: thread pools of the one before stop spinning."""

NOISY = 0.05
"""A control whose half spread is wider says that the machine was busy with other things."""


@dataclass(frozen=True)
class Spread:
    """A median with half the distance between the quartiles."""

    median: float
    half_spread: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of some values."""
        low, middle, high = np.percentile(values, (25, 50, 75))
        return cls(float(middle), float(high - low) / 2)

    def __str__(self) -> str:
        return f"{self.median:.3f} ± {self.half_spread:.3f}"


@dataclass(frozen=True)
class Pairs:
    """Seconds of a subject and of the baseline, pair by pair."""

    subject: tuple[float, ...]
    baseline: tuple[float, ...]

    @property
    def speed(self) -> Spread:
        """The subject's speed as a share of the baseline's; one ratio per pair."""
        return Spread.of([b / s for s, b in zip(self.subject, self.baseline, strict=True)])

    @property
    def cost(self) -> Spread:
        """The subject's seconds over the baseline's; one ratio per pair."""
        return Spread.of([s / b for s, b in zip(self.subject, self.baseline, strict=True)])

    def row(self, name: str) -> tuple[str, ...]:
        """A line of a table: name, median seconds of both, speed, cost, pairs."""
        seconds = (f"{np.median(each):.3f}" for each in (self.subject, self.baseline))
        return (name, *seconds, str(self.speed), str(self.cost), str(len(self.subject)))


COLUMNS = (
    "what",
    "median s",
    "baseline's median s",
    "speed ÷ baseline's",
    "seconds ÷ baseline's",
    "pairs",
)


def in_pairs(
    subjects: Mapping[str, Run], baseline: Run, pairs: int, seed: int = 0
) -> dict[str, Pairs]:
    """Times every subject against the baseline, and the baseline against itself.

    Each round times one pair for every subject and one control pair, the pairs in random
    order and the two of a pair in random order. Everything is run once before.

    Args:
        subjects: what is measured, by name.
        baseline: what it is measured against.
        pairs: pairs for each subject.
        seed: of the order.

    Returns:
        The pairs by the subjects' names, and under `CONTROL`.
    """
    order = random.Random(seed)
    runs = {**subjects, CONTROL: baseline}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(pairs):
        for name in order.sample(sorted(runs), len(runs)):
            if order.random() < 0.5:
                mine, other = seconds(runs[name]), seconds(baseline)
            else:
                other, mine = seconds(baseline), seconds(runs[name])
            taken[name].append((mine, other))
    return {
        name: Pairs(tuple(s for s, _ in each), tuple(b for _, b in each))
        for name, each in taken.items()
    }


def seconds(run: Run) -> float:
    """How long one run takes; a run that returns a float has timed itself."""
    gc.collect()
    time.sleep(REST_SECONDS)
    began = time.perf_counter()
    own = run()
    return own if isinstance(own, float) else time.perf_counter() - began


def per_thousand(run: Run, rows: int) -> Callable[[], float]:
    """The run, timed as seconds of a thousand rows: runs of different length can be compared."""

    def timed() -> float:
        began = time.perf_counter()
        own = run()
        took = own if isinstance(own, float) else time.perf_counter() - began
        return 1000 * took / rows

    return timed


def judged(margin: float, room: float) -> bool | None:
    """Whether a target is met.

    Args:
        margin: by how much; negative where it is missed.
        room: the control's half spread.

    Returns:
        None, no verdict, where the control spreads too wide and the margin lies within.
    """
    return margin >= 0 if room <= NOISY or abs(margin) > room else None
