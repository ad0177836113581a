"""Tickets: work that waits for the device, held by the explanation that waits for its answer."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np

from salience_service.control import Control
from salience_service.errors import SalienceError, anew
from salience_service.runtime.session import Execution
from salience_service.scheduling.account import Account
from salience_service.scheduling.row_graph import FloatArray, RowGraph, RowSpan

T = TypeVar("T")


class Ticket:
    """Work handed to the scheduler. `size` rows; `taken` of them are on the device or done.

    `work` is what its device time is counted as.
    """

    def __init__(self, control: Control, account: Account, size: int, work: str) -> None:
        self.work = work
        self.control = control
        self.account = account
        self.size = size
        self.taken = 0
        self.waiting_since = time.monotonic()
        self._dropped = False
        self._done = 0
        self._failure: SalienceError | None = None
        self._changed = threading.Condition()

    def wait(self, beyond: int, timeout: float) -> int:
        """Waits until more than `beyond` rows are done, or `timeout` seconds; returns how many are.

        Raises:
            SalienceError: the rows failed, or nobody waits for them any more.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._failure is not None or self._done > beyond,
                self.control.remaining(timeout),
            )
            done, failure = self._done, self._failure
        if done < self.size:
            self.control.check()
            if failure is not None:
                raise anew(failure)
        return done

    @property
    def dead(self) -> bool:
        """Whether nobody waits for these rows any more."""
        return self._dropped or self.control.dead

    def drop(self) -> None:
        """Gives up what was not run yet; the explanation goes on without it."""
        self._dropped = True

    def fail(self, error: SalienceError) -> None:
        """Ends the work with an error."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def advance(self, rows: int) -> None:
        """Counts rows as done."""
        with self._changed:
            self._done += rows
            self._changed.notify_all()


class RowTicket(Ticket):
    """Rows of one explanation on one graph, N ≥ 1; `logits` [N, K] fills up from the front."""

    def __init__(
        self, graph: RowGraph, span: RowSpan, control: Control, account: Account, work: str
    ) -> None:
        if not len(span):  # It would never be taken, and its batch would hold nothing.
            raise ValueError("rows to score: at least one")
        super().__init__(control, account, len(span), work)
        self.graph = graph
        self.span = span
        self.key = (id(graph), graph.shape_key(span.maps))
        self.batch_size = graph.batch_size(span.maps.shape[1:])
        self.logits: FloatArray = np.empty((0, 0), np.float32)
        self._stored: dict[int, int] = {}

    def store(self, start: int, logits: FloatArray) -> None:
        """Keeps the logits of rows start…; lanes may bring them in any order.

        Rows count as done once all before them are there.
        """
        with self._changed:
            if not self._stored:
                self.logits = np.empty((self.size, logits.shape[1]), np.float32)
            self.logits[start : start + len(logits)] = logits
            self._stored[start] = len(logits)
            done = self._done
            while done in self._stored:
                done += self._stored[done]
            self.advance(done - self._done)


class CallTicket(Ticket, Generic[T]):
    """One call that has the device to itself, such as a clean forward or a gradient.

    `alone`: of calls that name the same, one runs at a time.
    """

    def __init__(
        self,
        call: Callable[[Execution], T],
        control: Control,
        account: Account,
        work: str,
        alone: Hashable | None = None,
    ) -> None:
        super().__init__(control, account, 1, work)
        self.alone = alone
        self._call = call
        self.result: T | None = None

    def run(self, execution: Execution) -> Callable[[], None]:
        """Makes the call, in a lane's thread; what it returns hands the result over."""
        result = self._call(execution)

        def deliver() -> None:
            self.result = result
            self.advance(1)

        return deliver
