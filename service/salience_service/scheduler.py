"""Continuous batching: rows of all live explanations share one device, fairly.

One thread runs the device. While it runs a batch, more work queues up; when it is
free it takes the explanation that has had the least device time, and fills the batch
with rows of every explanation that needs the same graph at the same map shape. There
is no timer, and a batch has one size, padded: a request's numbers never depend on who
else is there. Rows of the dead (cancelled, or past their deadline) never run.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from salience_service.control import Control
from salience_service.errors import Cancelled, ComputeFailed, SalienceError
from salience_service.session import Stop
from salience_service.ticket import Account, CallTicket, RowGraph, RowSpan, RowTicket, Ticket

T = TypeVar("T")
_AnyTicket = TypeVar("_AnyTicket", bound=Ticket)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Share:
    """Rows start to stop of a ticket, in one batch."""

    ticket: Ticket
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


class Scheduler:
    """Owns the device thread and everything that waits for it. Safe from any thread."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._waiting: list[Ticket] = []
        self._running: tuple[Sequence[_Share], Stop] | None = None
        self._turn = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="salience-device", daemon=True)
        self._thread.start()

    def rows(self, graph: RowGraph, span: RowSpan, control: Control, account: Account) -> RowTicket:
        """Queues rows to be scored."""
        return self._queue(RowTicket(graph, span, control, account))

    def call(self, call: Callable[[Stop], T], control: Control, account: Account) -> CallTicket[T]:
        """Queues one call that has the device to itself."""
        return self._queue(CallTicket(call, control, account))

    def close(self) -> None:
        """Ends the device thread after the batch that is running; what waits is cancelled."""
        with self._state:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._state.notify_all()
        for ticket in waiting:
            ticket.fail(Cancelled("the server is shutting down"))
        self._thread.join()

    def _queue(self, ticket: _AnyTicket) -> _AnyTicket:
        with self._state:
            if self._closed:
                raise Cancelled("the server is shutting down")
            ticket.account.turn = max(ticket.account.turn, self._turn)
            self._waiting.append(ticket)
            self._state.notify_all()
        ticket.control.on_cancel(self._someone_left)
        return ticket

    def _someone_left(self) -> None:
        """Ends the running call only where every row in it is dead."""
        with self._state:
            if self._running and all(share.ticket.control.dead for share in self._running[0]):
                self._running[1].now()
            self._state.notify_all()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run(batch)

    def _next_batch(self) -> list[_Share]:
        """The next batch, as soon as there is one; empty when the scheduler is closed."""
        with self._state:
            while not self._closed:
                self._bury()
                if self._waiting:
                    return self._form_batch()
                self._state.wait()
        return []

    def _bury(self) -> None:
        """Drops tickets that nobody waits for; their owners learn it from their control."""
        dead = [ticket for ticket in self._waiting if ticket.control.dead]
        self._waiting = [ticket for ticket in self._waiting if not ticket.control.dead]
        for ticket in dead:
            ticket.fail(Cancelled("nobody waits for these rows"))

    def _form_batch(self) -> list[_Share]:
        """Whose turn it is, with everyone who can share its batch; finished tickets leave."""
        first = min(self._waiting, key=lambda ticket: ticket.account.turn)
        self._turn = first.account.turn
        shares = _share_out(first, self._waiting)
        for share in shares:
            share.ticket.taken = share.stop
        self._waiting = [ticket for ticket in self._waiting if ticket.taken < ticket.size]
        return shares

    def _run(self, batch: Sequence[_Share]) -> None:
        stop = Stop()
        with self._state:
            self._running = (batch, stop)
        began = time.monotonic()
        try:
            deliver = _execute(batch, stop)
            _charge(batch, began, time.monotonic())
            deliver()
        except Exception as error:  # whatever failed, the device thread goes on
            self._fail(batch, error)
        finally:
            with self._state:
                self._running = None

    def _fail(self, batch: Sequence[_Share], error: Exception) -> None:
        """Fails the tickets of a batch; the device thread and everyone else go on."""
        if not isinstance(error, SalienceError):
            _log.error("a batch failed", exc_info=error)
            error = ComputeFailed("the model failed on the device")
        failed = [share.ticket for share in batch]
        with self._state:
            self._waiting = [ticket for ticket in self._waiting if ticket not in failed]
        for ticket in failed:
            ticket.fail(error)


def _share_out(first: Ticket, waiting: Sequence[Ticket]) -> list[_Share]:
    """Rows for one batch: equal shares for all who fit, what the small leave goes to the large.

    An explanation may have several tickets waiting; together they take one share, in turn.
    """
    if not isinstance(first, RowTicket):
        return [_Share(first, 0, 1)]
    guests: dict[int, list[RowTicket]] = {}
    fitting = [t for t in waiting if isinstance(t, RowTicket) and t.key == first.key]
    for ticket in sorted(fitting, key=lambda ticket: ticket.account.turn):
        guests.setdefault(id(ticket.account), []).append(ticket)
    room, shares = first.graph.batch_size, list[_Share]()
    seated = sorted([*guests.values()][:room], key=_rows_left)
    for place, tickets in enumerate(seated):
        most = -(-room // (len(seated) - place))
        for ticket in tickets:
            rows = min(ticket.size - ticket.taken, most)
            shares.append(_Share(ticket, ticket.taken, ticket.taken + rows))
            most, room = most - rows, room - rows
    return [share for share in shares if share.rows]


def _rows_left(tickets: Sequence[RowTicket]) -> int:
    return sum(ticket.size - ticket.taken for ticket in tickets)


def _execute(batch: Sequence[_Share], stop: Stop) -> Callable[[], None]:
    """Runs a batch; what it returns hands the results over."""
    first = batch[0].ticket
    if isinstance(first, CallTicket):
        return first.run(stop)
    parts = [(share, share.ticket) for share in batch if isinstance(share.ticket, RowTicket)]
    spans = [ticket.span.part(share.start, share.stop) for share, ticket in parts]
    logits = parts[0][1].graph.score(spans, stop)

    def deliver() -> None:
        offset = 0
        for share, ticket in parts:
            ticket.store(share.start, logits[offset : offset + share.rows])
            offset += share.rows

    return deliver


def _charge(batch: Sequence[_Share], began: float, ended: float) -> None:
    """Bills each explanation its share of the batch."""
    total = sum(share.rows for share in batch)
    for share in batch:
        seconds = (ended - began) * share.rows / total
        account = share.ticket.account
        account.rows += share.rows
        account.device_seconds += seconds
        account.turn += seconds
        account.queue_seconds += began - share.ticket.waiting_since
        share.ticket.waiting_since = ended
