"""The end of rows before their last: where maps are good enough, or time is up."""

import math
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import InvalidRequest
from salience_service.events import Convergence
from salience_service.methods.probe import RowProbe
from salience_service.request import StopWhen

LOOKS = 16
"""The correlation is looked at after every sixteenth of the rows: at fixed numbers of rows, so that
neither load nor batch size has a say in where a map ends."""
LEAST_ROWS = 16
"""Rows at the first look: halves of fewer say little of each other."""
LOOKS_ENOUGH = 2
"""Looks in a row that must agree: of many looks one is high by chance (docs/anytime.md)."""
NEVER = StopWhen()


class EarlyEnd:
    """Watches rows on their way, and tells when the maps of all who hear them are good enough.

    Args:
        asked: when that is; `NEVER` lets all rows run.
        began: `time.monotonic()` seconds at which the method began.
        probes: of each voice, all of the same rows; `anytime`, unless `asked` is `NEVER`.
        size: rows asked for.

    Attributes:
        rows: how many the maps are made of.
        convergences: how far each voice's map has come; None where all rows had to run.
    """

    def __init__(
        self, asked: StopWhen, began: float, probes: Sequence[RowProbe], size: int
    ) -> None:
        self.rows = size
        whole = None if asked == NEVER else Convergence(0, 1.0, repeatable=True)
        self.convergences = [whole for _ in probes]
        self._probes, self._size = probes, size
        self._enough = asked.correlation
        self._until = math.inf if asked.seconds is None else began + asked.seconds
        self._looks = deque(looks(size) if self._enough is not None else ())
        self._agreeing = 0

    def reached(self, logits: NDArray[np.float32]) -> bool:
        """Whether the rows done are enough.

        Args:
            logits: theirs, [done, classes]; never fewer than before.
        """
        return self._by_correlation(logits) or self._by_clock(logits)

    def _by_correlation(self, logits: NDArray[np.float32]) -> bool:
        while self._looks and self._looks[0] <= len(logits):
            rows = self._looks.popleft()
            correlations = self._correlations(logits[:rows])
            enough = all(each >= (self._enough or 0) for each in correlations)
            self._agreeing = self._agreeing + 1 if enough else 0
            if self._agreeing == LOOKS_ENOUGH:
                return self._end(rows, correlations, repeatable=True)
        return False

    def _by_clock(self, logits: NDArray[np.float32]) -> bool:
        if not 0 < len(logits) < self._size or time.monotonic() < self._until:
            return False
        return self._end(len(logits), self._correlations(logits), repeatable=False)

    def _correlations(self, logits: NDArray[np.float32]) -> list[float]:
        """Of each voice's map of these rows, estimated, with the one of all rows."""
        found = []
        for probe in self._probes:
            assert probe.preview is not None
            correlation = probe.preview(logits).correlation
            assert correlation is not None  # Anytime previews tell.
            found.append(correlation)
        return found

    def _end(self, rows: int, correlations: Sequence[float], repeatable: bool) -> bool:
        self.rows = rows
        skipped = self._size - rows
        self.convergences = [Convergence(skipped, each, repeatable) for each in correlations]
        return True


def looks(size: int) -> list[int]:
    """Numbers of rows, of `size`, after which the correlation is looked at; all below `size`."""
    places = (math.ceil(size * look / LOOKS) for look in range(1, LOOKS))
    return sorted({rows for rows in places if LEAST_ROWS <= rows < size})


def check_stop(asked: StopWhen) -> None:
    """Refuses what never ends, or ends at once.

    Raises:
        InvalidRequest: nothing is stated, or a value is out of its range.
    """
    correlation, seconds = asked.correlation, asked.seconds
    if correlation is None and seconds is None:
        raise InvalidRequest(
            "stop_when says nothing: state a correlation or seconds, or leave it out"
        )
    if correlation is not None and not 0 < correlation < 1:
        raise InvalidRequest(
            f"stop_when's correlation is {correlation:g}: state one above 0 and below 1",
            field="correlation",
        )
    if seconds is not None and not 0 < seconds < math.inf:
        raise InvalidRequest(
            f"stop_when's seconds are {seconds:g}: state a number above 0", field="seconds"
        )
