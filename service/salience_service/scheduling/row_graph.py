"""Row graphs: the seam between the scheduler and what scores rows, and the rows that cross it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from salience_service.runtime.session import Execution

FloatArray = NDArray[np.float32]


class RowSource(Protocol):
    """What rows are made from: arrays that many share; compared by identity."""

    def arrays(self) -> Mapping[str, FloatArray]:
        """By the name of the graph's input that holds one such array for each source."""
        ...


@dataclass(frozen=True)
class RowSpan:
    """Rows that share a source and a composition (see `methods.probe.Rows`).

    Attributes:
        source: what the rows' masks are laid over.
        maps: float32 [n, …], as the graph takes them.
    """

    source: RowSource
    maps: FloatArray
    normalise: bool = True
    scale: float = 1.0
    shift: float = 0.0

    def __len__(self) -> int:
        return len(self.maps)

    def part(self, start: int, stop: int) -> "RowSpan":
        """Rows start to stop."""
        return RowSpan(self.source, self.maps[start:stop], self.normalise, self.scale, self.shift)


class RowGraph(Protocol):
    """What the scheduler needs of a graph that scores rows."""

    def batch_size(self, shape: tuple[int, ...]) -> int:
        """Rows of every device call whose maps have this shape; it never changes."""
        ...

    def shape_key(self, maps: FloatArray) -> Hashable:
        """Equal for rows that may share a device batch."""
        ...

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> FloatArray:
        """Logits [n, K] of the spans' rows in order, at the fixed batch shape.

        Args:
            spans: maps of one shape; n rows in all, n ≤ `batch_size` of that shape.
            execution: where they run.
        """
        ...
