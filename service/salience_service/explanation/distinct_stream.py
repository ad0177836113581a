"""A stream of rows some of which are alike: each runs once, and all get their logits."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from salience_service.explanation.known import Alike
from salience_service.explanation.row_stream import RowStream


class DistinctStream:
    """Answers all rows while only the fresh ones run. As a `RowStream`, as far as it goes.

    Args:
        alike: how the rows repeat; some must be fresh, or known.
        run: starts the stream of the rows with these numbers.
    """

    def __init__(self, alike: Alike, run: Callable[[NDArray[np.intp]], RowStream]) -> None:
        self.size = len(alike.keys)
        self.done = 0
        self._alike = alike
        self._stream = run(alike.fresh) if len(alike.fresh) else None
        # Where the rows are answered up to, once this many fresh ones are done.
        self._needs = np.maximum.accumulate(alike.place + 1)
        self._logits = self._known()
        self._advance()

    @property
    def logits(self) -> NDArray[np.float32]:
        """Of the rows answered, float32 [done, classes]."""
        return self._logits[: self.done]

    def wait(self, timeout: float) -> int:
        """Waits until more rows have run, or `timeout` seconds; returns how many more have.

        Raises:
            SalienceError: the rows failed, or nobody waits for them any more.
        """
        assert self._stream is not None
        found = self._stream.wait(timeout)
        self._advance()
        return found

    def end(self) -> int:
        """Drops the rows that are not done; returns how many would have run."""
        return self._stream.end() if self._stream else 0

    def _known(self) -> NDArray[np.float32]:
        if not self._alike.known:
            return np.empty((0, 0), np.float32)
        classes = len(next(iter(self._alike.known.values())))
        logits = np.empty((self.size, classes), np.float32)
        for row, each in self._alike.known.items():
            logits[row] = each
        return logits

    def _advance(self) -> None:
        """Hands on what the fresh rows that are done have brought."""
        ran = self._stream.logits if self._stream else self._logits[:0]
        if not len(self._logits) and len(ran):
            self._logits = np.empty((self.size, ran.shape[1]), np.float32)
        done = int(np.searchsorted(self._needs, len(ran), side="right"))
        rows = np.arange(self.done, done)
        from_stream = rows[self._alike.place[rows] >= 0]
        if len(from_stream):
            self._logits[from_stream] = ran[self._alike.place[from_stream]]
        self.done = done
