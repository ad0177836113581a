"""Continuous batching: rows of all live explanations share the devices, fairly.

Each lane is a thread that runs one call at a time. While it runs a batch, more work queues
up; when it is free it takes the explanation that, one call later, will have had the least device
time for its priority, and fills the batch with rows of every explanation that needs the same
graph at the same map shape. There is no timer, and a batch has one size, padded: a request's
numbers never depend on who else is there. Rows of the dead (cancelled, or past their deadline)
never run.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from salience_service.control import Control
from salience_service.errors import Cancelled, ComputeFailed, SalienceError, anew
from salience_service.life.farewell import stopped
from salience_service.runtime.session import Execution, Lane
from salience_service.scheduling.ticket import (
    Account,
    CallTicket,
    RowGraph,
    RowSpan,
    RowTicket,
    Ticket,
)
from salience_service.scheduling.workload import Occupancy, Workload

T = TypeVar("T")
_AnyTicket = TypeVar("_AnyTicket", bound=Ticket)
_log = logging.getLogger(__name__)
_BREATH_SECONDS = 0.5
"""Before a lane that could not begin a batch tries again."""
_NEWEST_CALLS_SHARE = 0.1
"""Of the seconds that a call usually takes."""


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
    """Owns the lanes and everything that waits for them. Safe from any thread.

    Args:
        lanes: at least one; more than one for a device keep it busy while the host makes
            the next batch ready.
    """

    def __init__(self, lanes: Sequence[Lane] = (Lane(),)) -> None:
        self._state = threading.Condition()
        self._waiting: list[Ticket] = []
        self._running: dict[Lane, tuple[Sequence[_Share], Execution]] = {}
        self._alone: set[Hashable] = set()
        self._turn = 0.0
        self._usual_seconds = 0.0
        self._workload = Workload()
        self._closed = False
        self.lanes = len(lanes)
        self._threads = [
            threading.Thread(
                target=self._work, args=(lane,), name=f"salience-device-{lane.number}", daemon=True
            )
            for lane in lanes
        ]
        for thread in self._threads:
            thread.start()

    def rows(
        self,
        graph: RowGraph,
        span: RowSpan,
        control: Control,
        account: Account,
        work: str = "rows",
    ) -> RowTicket:
        """Queues rows to be scored; `work`: what their device time is counted as."""
        return self._queue(RowTicket(graph, span, control, account, work))

    def call(
        self,
        call: Callable[[Execution], T],
        control: Control,
        account: Account,
        work: str = "call",
        alone: Hashable | None = None,
    ) -> CallTicket[T]:
        """Queues one call that has its lane to itself; `work` as for rows.

        Of calls that name the same in `alone` one runs at a time: another would take a lane and
        wait there.
        """
        return self._queue(CallTicket(call, control, account, work, alone))

    @property
    def workload(self) -> Workload:
        """What has run so far."""
        with self._state:
            return self._workload

    @property
    def occupancy(self) -> Occupancy:
        """What waits and runs now."""
        with self._state:
            waiting = sum(ticket.size - ticket.taken for ticket in self._waiting)
            return Occupancy(waiting, self.lanes, len(self._running))

    def running(self) -> Collection[Execution]:
        """The calls that the lanes run now."""
        with self._state:
            return [execution for _, execution in self._running.values()]

    def close(self) -> None:
        """Ends the lanes after the batches that are running; what waits is told to come again."""
        with self._state:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._state.notify_all()
        for ticket in waiting:
            ticket.fail(stopped())
        for thread in self._threads:
            thread.join()

    def _queue(self, ticket: _AnyTicket) -> _AnyTicket:
        with self._state:
            if self._closed:
                raise stopped()
            ticket.account.turn = max(ticket.account.turn, self._turn)
            self._waiting.append(ticket)
            self._state.notify()
        ticket.control.on_cancel(self._someone_left)
        return ticket

    def _someone_left(self) -> None:
        """Ends running calls in which every row is dead, and no others."""
        with self._state:
            for batch, execution in self._running.values():
                if all(share.ticket.dead for share in batch):
                    execution.end()
            self._bury()

    def _work(self, lane: Lane) -> None:
        while not self._closed:
            try:
                begun = self._next_batch(lane)
            except Exception:  # For want of memory, say: nobody's batch yet, and the lane goes on.
                _log.exception("a batch could not be begun")
                time.sleep(_BREATH_SECONDS)
                continue
            if begun is not None:
                self._run(*begun, lane)
            del begun  # Else an idle lane would keep the model of its last batch.

    def _next_batch(self, lane: Lane) -> tuple[Sequence[_Share], Execution] | None:
        """The next batch, as soon as there is one, and its word to end; None when it is closed."""
        execution = Execution(lane)  # Before tickets leave the queue for it: it may fail.
        with self._state:
            while not self._closed:
                self._bury()
                if ready := [ticket for ticket in self._waiting if self._may_run(ticket)]:
                    begun = self._form_batch(ready), execution
                    self._running[lane] = begun  # Who leaves from now on may end it.
                    return begun
                self._state.wait()
        return None

    def _bury(self) -> None:
        """Drops tickets that nobody waits for; their owners learn it from their control."""
        dead = [ticket for ticket in self._waiting if ticket.dead]
        if not dead:  # As before almost every batch; each look asks the clock.
            return
        self._waiting = [ticket for ticket in self._waiting if ticket not in dead]
        for ticket in dead:
            ticket.fail(Cancelled("nobody waits for these rows"))

    def _may_run(self, ticket: Ticket) -> bool:
        return not isinstance(ticket, CallTicket) or ticket.alone not in self._alone

    def _form_batch(self, ready: Sequence[Ticket]) -> list[_Share]:
        """Whose turn it is, with everyone who can share its batch; finished tickets leave."""
        order = sorted(ready, key=self._order)
        shares = _share_out(order)
        taken = {id(share.ticket): share.stop for share in shares}
        waiting = [each for each in self._waiting if taken.get(id(each), each.taken) < each.size]
        # All is ready: what fails above, for want of memory, say, has changed nothing.
        self._alone |= _alone(order[0])
        self._turn = max(self._turn, order[0].account.turn)
        for share in shares:
            share.ticket.taken = share.stop
        self._waiting = waiting
        if self._waiting:
            self._state.notify()  # Another lane may be idle.
        return shares

    def _order(self, ticket: Ticket) -> tuple[float, float]:
        """Who goes first: the least device time for its priority, after one call more.

        Without that call a newcomer of any priority would come in behind all who wait. Among
        equals the nearest deadline goes first.
        """
        account, deadline = ticket.account, ticket.control.deadline
        finish = account.turn + self._usual_seconds / account.weight
        return finish, math.inf if deadline is None else deadline

    def _run(self, batch: Sequence[_Share], execution: Execution, lane: Lane) -> None:
        try:
            self._billed(batch, execution)()
        except Exception as error:  # whatever failed, the lane goes on
            self._fail(batch, error)
        finally:
            with self._state:
                del self._running[lane]
                if held := _alone(batch[0].ticket):
                    self._alone -= held
                    self._state.notify()

    def _billed(self, batch: Sequence[_Share], execution: Execution) -> Callable[[], None]:
        """Runs a batch; what it returns hands the results over.

        The device time is billed however it ends: else those whose calls fail, or are ended by
        their deadline, would be served for nothing, and before everybody else.
        """
        began, deliver = time.monotonic(), None
        try:
            deliver = _execute(batch, execution)
            return deliver
        finally:
            with self._state:
                ended = time.monotonic()
                _charge(batch, began, ended, is_done=deliver is not None)
                self._advance(ended - began)
                self._workload = _with(self._workload, batch, ended - began, deliver is not None)

    def _advance(self, seconds: float) -> None:
        """Moves virtual time on by a call's device time, over the weights of all who wait or run.

        So newcomers come in behind those who were served a while ago: else a stream of single
        calls, each an account of its own, would keep these out for ever.
        """
        running = (share.ticket for batch, _ in self._running.values() for share in batch)
        accounts = {id(each.account): each.account for each in (*self._waiting, *running)}
        self._turn += seconds / sum(account.weight for account in accounts.values())
        share = _NEWEST_CALLS_SHARE if self._usual_seconds else 1
        self._usual_seconds += share * (seconds - self._usual_seconds)

    def _fail(self, batch: Sequence[_Share], error: Exception) -> None:
        """Fails the tickets of a batch; the lane and everyone else go on."""
        if isinstance(error, ComputeFailed) or not isinstance(error, SalienceError):
            _log.error("a batch failed", exc_info=error.__cause__ or error)
        if isinstance(error, SalienceError):
            error = anew(error)  # Its frames hold this batch, whose tickets are to hold it.
        else:
            error = ComputeFailed("the model failed on the device")
        failed = [share.ticket for share in batch]
        with self._state:
            self._waiting = [ticket for ticket in self._waiting if ticket not in failed]
        for ticket in failed:
            ticket.fail(error)


def _alone(ticket: Ticket) -> set[Hashable]:
    """What a ticket may not share while it runs."""
    alone = ticket.alone if isinstance(ticket, CallTicket) else None
    return set() if alone is None else {alone}


def _share_out(order: Sequence[Ticket]) -> list[_Share]:
    """Rows for the batch of the first in order: shares by priority; what the small leave goes to
    the large.

    An explanation may have several tickets waiting; together they take one share, in turn. Shares
    are rounded up for who is served before, so that the last may get none; never whose turn it
    is, who would stay the next in turn and hold up everybody.
    """
    first = order[0]
    if not isinstance(first, RowTicket):
        return [_Share(first, 0, 1)]
    guests: dict[int, list[RowTicket]] = {}
    for ticket in order:
        if isinstance(ticket, RowTicket) and ticket.key == first.key:
            guests.setdefault(id(ticket.account), []).append(ticket)
    room, shares = first.batch_size, list[_Share]()
    seated = sorted([*guests.values()][:room], key=_claim)
    weights = sum(tickets[0].account.weight for tickets in seated)
    owed = 1
    for tickets in seated:
        account = tickets[0].account
        if account is first.account:
            owed = 0
        most = min(-(-room * account.weight // weights), room - owed)
        weights -= account.weight
        for ticket in tickets:
            rows = min(ticket.size - ticket.taken, most)
            shares.append(_Share(ticket, ticket.taken, ticket.taken + rows))
            most, room = most - rows, room - rows
    return [share for share in shares if share.rows]


def _claim(tickets: Sequence[RowTicket]) -> float:
    """Rows that an explanation has waiting, for its weight: who claims least is served whole."""
    return sum(ticket.size - ticket.taken for ticket in tickets) / tickets[0].account.weight


def _execute(batch: Sequence[_Share], execution: Execution) -> Callable[[], None]:
    """Runs a batch; what it returns hands the results over."""
    first = batch[0].ticket
    if isinstance(first, CallTicket):
        return first.run(execution)
    parts = [(share, share.ticket) for share in batch if isinstance(share.ticket, RowTicket)]
    spans = [ticket.span.part(share.start, share.stop) for share, ticket in parts]
    logits = parts[0][1].graph.score(spans, execution)

    def deliver() -> None:
        offset = 0
        for share, ticket in parts:
            ticket.store(share.start, logits[offset : offset + share.rows])
            offset += share.rows

    return deliver


def _with(workload: Workload, batch: Sequence[_Share], seconds: float, is_done: bool) -> Workload:
    """The workload with one batch more, or with its time alone where it was not done."""
    first = batch[0].ticket
    rows = sum(share.rows for share in batch)
    dead = sum(share.rows for share in batch if share.ticket.control.dead)
    timed = workload.with_time(first.work, seconds, seconds * dead / rows)
    if not is_done:
        return timed
    if isinstance(first, RowTicket):
        return timed.with_batch(rows, first.batch_size)
    return timed.with_call()


def _charge(batch: Sequence[_Share], began: float, ended: float, is_done: bool) -> None:
    """Bills each explanation its share of the batch; rows only where it was done."""
    total = sum(share.rows for share in batch)
    for share in batch:
        account = share.ticket.account
        account.wait(share.ticket.waiting_since, began, ended)
        account.charge(share.rows if is_done else 0, (ended - began) * share.rows / total)
        share.ticket.waiting_since = ended
