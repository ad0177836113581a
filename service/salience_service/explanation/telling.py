"""What a running explanation says of how far it has come, and how often."""

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from salience_service.events import PartialMap, Progress
from salience_service.explanation.voices import Voice
from salience_service.methods.probe import Partial, RowProbe

Told = Progress | PartialMap
HEARTBEAT_SECONDS = 0.4
"""Progress is told at least this often, even where no row was completed since, at any pace."""


@dataclass(frozen=True)
class Pace:
    """How often a running explanation speaks: least seconds between partial maps and progress."""

    partial_seconds: float = 0.25
    progress_seconds: float = 0.1


@dataclass
class Tally:
    """Rows done and expected over a whole explanation; spared: those that need not run.

    Attributes:
        told: whether progress was told. told_at: when, `time.monotonic()`, or when they began.
    """

    expected: int
    done: int = 0
    spared: int = 0
    told: bool = False
    told_at: float = field(default_factory=time.monotonic)

    @property
    def complete(self) -> bool:
        """Whether all that is expected is done."""
        return self.done == self.expected

    def spare(self, rows: int) -> None:
        """Counts rows that need not run."""
        self.expected -= rows
        self.spared += rows


@dataclass
class Telling:
    """Tells progress and partial maps when they are due. Owns when partial maps last were.

    Attributes:
        method: whose maps are made. tally: how far they have come; shared by all of the answer.
        pace: how often it speaks. wants_partial_maps: whether the caller asked for them.
    """

    method: str
    tally: Tally
    pace: Pace
    wants_partial_maps: bool
    _partial_at: dict[int, float] = field(default_factory=dict)

    def until_heartbeat(self) -> float:
        """Seconds until progress is due whatever was done; 0 where it is."""
        return max(self.tally.told_at + HEARTBEAT_SECONDS - time.monotonic(), 0)

    def progress(self, voice: Voice, last: bool = False) -> Generator[Progress, None, None]:
        """Progress, where it is due; `last`: it is due now, if any was told before.

        So what ends sooner than progress is due tells none: its map follows at once.
        """
        tally, now = self.tally, time.monotonic()
        due = now - tally.told_at >= min(self.pace.progress_seconds, HEARTBEAT_SECONDS)
        if due or (last and tally.told):
            tally.told, tally.told_at = True, now
            tally.expected = max(tally.expected, tally.done)
            yield Progress(voice.map_id, self.method, tally.done, tally.expected)

    def previews(
        self, voices: Sequence[Voice], probes: Sequence[RowProbe], logits: NDArray[np.float32]
    ) -> Generator[PartialMap, None, None]:
        """Maps of the rows done so far, one a voice, where they are due."""
        for voice, probe in zip(voices, probes, strict=True):
            if probe.preview and self._is_due(voice):
                yield _partial_map(voice, probe.preview(logits))

    def partial(self, voice: Voice, found: Partial) -> Generator[PartialMap, None, None]:
        """A map that a method gives on its way, where it is due."""
        if self._is_due(voice):
            yield _partial_map(voice, found)

    def _is_due(self, voice: Voice) -> bool:
        """Whether a partial map of a voice is due, which then is the last."""
        now, last = time.monotonic(), self._partial_at.get(voice.map_id, -math.inf)
        if not self.wants_partial_maps or now - last < self.pace.partial_seconds:
            return False
        self._partial_at[voice.map_id] = now
        return True


def _partial_map(voice: Voice, found: Partial) -> PartialMap:
    return PartialMap(voice.map_id, found.map, found.tap, found.fraction, found.correlation)
