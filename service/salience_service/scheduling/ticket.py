"""Tickets: work that waits for the device, held by the explanation that waits for its answer."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from salience_service.control import Control
from salience_service.errors import SalienceError, anew
from salience_service.runtime.session import Execution

FloatArray = NDArray[np.float32]
T = TypeVar("T")


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


@dataclass
class Account:
    """What one explanation has used of the devices; written by the scheduler, under its lock.

    Attributes:
        weight: its priority: of what is waiting, the device time it gets for another's.
        rows: rows and calls completed.
        queue_seconds: time its work waited for the device while none of it ran there.
        device_seconds: device time, shared batches counted by share.
        turn: fair queueing's virtual time, device time by weight: who has the least goes next.
        served_until: when the last of its work left the device, `time.monotonic()`.
    """

    weight: int = 1
    rows: int = 0
    queue_seconds: float = 0.0
    device_seconds: float = 0.0
    turn: float = 0.0
    served_until: float = 0.0

    def wait(self, since: float, began: float, ended: float) -> None:
        """Counts the wait of work that ran from `began` to `ended`, less that for its own."""
        self.queue_seconds += max(began - max(since, self.served_until), 0)
        self.served_until = max(self.served_until, ended)

    def charge(self, rows: int, seconds: float) -> None:
        """Bills rows that took a share of device time."""
        self.rows += rows
        self.device_seconds += seconds
        self.turn += seconds / self.weight


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
