"""Rows on their way through the device: in parts, of which the next ones wait there already."""

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.probe import FloatMap, Series
from salience_service.scheduling.ticket import RowTicket

PART_BATCHES = 4
"""Batches of one part: enough that the device does not notice where it ends."""


def parts_ahead(lanes: int) -> int:
    """Parts queued at a time, beside so many lanes: the next waits while what fills them runs."""
    return 1 + -(-lanes // PART_BATCHES)


class RowStream:
    """Hands a series of masks to the scheduler, and gathers the logits of its rows in order.

    Masks are cut as their part is queued, and let go when it is done.

    Args:
        masks: [N, …].
        batch_size: rows of a device call.
        queue: hands masks to the scheduler.
        lanes: calls that run at a time.
    """

    def __init__(
        self,
        masks: Series,
        batch_size: int,
        queue: Callable[[FloatMap], RowTicket],
        lanes: int = 1,
    ) -> None:
        self.size = masks.shape[0]
        self.done = 0
        self._logits: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._masks, self._queue = masks, queue
        self._parts = _parts(self.size, PART_BATCHES * batch_size)
        self._flight: deque[RowTicket] = deque()
        self._ahead = parts_ahead(lanes)
        self._before = 0
        self._fill_flight()

    @property
    def logits(self) -> NDArray[np.float32]:
        """Of the rows done, float32 [done, classes]."""
        return self._logits[: self.done]

    def wait(self, timeout: float) -> int:
        """Waits until more rows are done, or `timeout` seconds; returns how many more are.

        Raises:
            SalienceError: the rows failed, or nobody waits for them any more.
        """
        ticket = self._flight[0]
        known = self.done - self._before
        found = ticket.wait(known, timeout)
        self._keep(ticket.logits[known:found])
        if found == ticket.size:
            self._flight.popleft()
            self._before = self.done
            self._fill_flight()
        return found - known

    def end(self) -> int:
        """Drops the rows that are not done; returns how many. It is then not to be waited for."""
        for ticket in self._flight:
            ticket.drop()
        self._flight.clear()
        return self.size - self.done

    def _keep(self, logits: NDArray[np.float32]) -> None:
        if not len(logits):
            return
        if not self.done:
            self._logits = np.empty((self.size, logits.shape[1]), np.float32)
        self._logits[self.done : self.done + len(logits)] = logits
        self.done += len(logits)

    def _fill_flight(self) -> None:
        while len(self._flight) < self._ahead and (part := next(self._parts, None)):
            self._flight.append(self._queue(self._masks[part]))


def _parts(size: int, most: int) -> Iterator[slice]:
    return (slice(start, min(start + most, size)) for start in range(0, size, most))
