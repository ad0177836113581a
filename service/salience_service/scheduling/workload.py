"""What a scheduler has run so far, and what waits for it and runs on it now."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Workload:
    """What a scheduler has run so far.

    Attributes:
        calls: executions that a caller had alone. batches: executions of rows.
        rows: rows in them. places: rows that would have had room in them.
        device_seconds: by what ran, as its caller named it.
        wasted_seconds: of these, for whoever had left before they ended.
    """

    calls: int = 0
    batches: int = 0
    rows: int = 0
    places: int = 0
    device_seconds: Mapping[str, float] = field(default_factory=dict)
    wasted_seconds: float = 0.0

    @property
    def fill(self) -> float:
        """The share of batches that was rows, not padding; 1 where none ran."""
        return self.rows / self.places if self.places else 1.0

    def with_call(self) -> "Workload":
        """With one call more."""
        return replace(self, calls=self.calls + 1)

    def with_batch(self, rows: int, places: int) -> "Workload":
        """With one batch of rows more."""
        return replace(
            self,
            batches=self.batches + 1,
            rows=self.rows + rows,
            places=self.places + places,
        )

    def with_time(self, work: str, seconds: float, wasted: float) -> "Workload":
        """With device time more, `wasted` of it for nobody."""
        taken = {**self.device_seconds, work: self.device_seconds.get(work, 0.0) + seconds}
        return replace(self, device_seconds=taken, wasted_seconds=self.wasted_seconds + wasted)


@dataclass(frozen=True)
class Occupancy:
    """What waits and runs at a moment.

    Attributes:
        waiting_rows: rows and calls that wait for a lane; of an explanation, a few batches wait
            at a time. lanes: of all devices. busy: of these.
    """

    waiting_rows: int
    lanes: int
    busy: int
