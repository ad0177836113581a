"""Continuous batching: rows of all live explanations share the devices, fairly.

Each lane is a thread that runs one call at a time. While it runs a batch, more work queues
up; when it is free it takes the explanation that, one call later, will have had the least device
time for its priority, and fills the batch with rows of every explanation that needs the same
graph at the same map shape. Of free lanes one of the device that runs the fewest calls goes first.
There is no timer, and a batch has one size, padded: a request's numbers never depend on who else
is there. Rows of the dead (cancelled, or past their deadline) never run.
"""

import atexit
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TypeVar

from salience_service.control import Control
from salience_service.errors import Cancelled, ComputeFailed, SalienceError, anew
from salience_service.life.farewell import stopped
from salience_service.runtime.session import Execution, Lane
from salience_service.scheduling.account import Account
from salience_service.scheduling.batch import Batch, share_out
from salience_service.scheduling.row_graph import RowGraph, RowSpan
from salience_service.scheduling.ticket import CallTicket, RowTicket, Ticket
from salience_service.scheduling.workload import Occupancy, Workload

T = TypeVar("T")
_AnyTicket = TypeVar("_AnyTicket", bound=Ticket)
_log = logging.getLogger(__name__)
_BREATH_SECONDS = 0.5
"""Before a lane that could not begin a batch tries again."""
_NEWEST_CALLS_SHARE = 0.1
"""Of the seconds that a call usually takes."""


class Scheduler:
    """Owns the lanes and everything that waits for them. Safe from any thread.

    Args:
        lanes: at least one; more than one for a device keep it busy while the host makes
            the next batch ready.
    """

    def __init__(self, lanes: Sequence[Lane] = (Lane(),)) -> None:
        self._state = threading.RLock()
        self._free: dict[Lane, threading.Condition] = {}
        self._waiting: list[Ticket] = []
        self._running: dict[Lane, Batch] = {}
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
        # A lane that is within the runtime when Python ends takes the process down with it.
        atexit.register(self.close)

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
        """The calls that run on devices now; not those that wait there for their turn."""
        with self._state:
            executions = [batch.execution for batch in self._running.values()]
        return [execution for execution in executions if not execution.turn.waits]

    def close(self) -> None:
        """Ends the lanes after the batches that are running; what waits is told to come again.

        Python does so at its end, where nobody else did.
        """
        atexit.unregister(self.close)
        with self._state:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            for word in self._free.values():
                word.notify()
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
            self._wake()
        ticket.control.on_cancel(self._someone_left)
        return ticket

    def _someone_left(self) -> None:
        """Ends running calls in which every row is dead, and no others."""
        with self._state:
            for batch in self._running.values():
                if batch.dead:
                    batch.execution.end()
            self._bury()

    def _work(self, lane: Lane) -> None:
        while not self._closed:
            try:
                batch = self._next_batch(lane)
            except Exception:  # For want of memory, say: nobody's batch yet, and the lane goes on.
                _log.exception("a batch could not be begun")
                time.sleep(_BREATH_SECONDS)
                continue
            if batch is not None:
                self._run(batch, lane)
            del batch  # Else an idle lane would keep the model of its last batch.

    def _next_batch(self, lane: Lane) -> Batch | None:
        """The next batch, as soon as there is one; None when it is closed."""
        execution = Execution(lane)  # Before tickets leave the queue for it: it may fail.
        with self._state:
            self._free[lane] = threading.Condition(self._state)
            try:
                return self._taken(lane, execution)
            finally:
                del self._free[lane]
                if self._waiting:
                    self._wake()  # Another lane may be free.

    def _taken(self, lane: Lane, execution: Execution) -> Batch | None:
        """Waits, on a free lane, for work that is this lane's to run."""
        while not self._closed:
            self._bury()
            if ready := [ticket for ticket in self._waiting if self._may_run(ticket)]:
                if self._next_lane() == lane:
                    batch = self._form_batch(ready, execution)
                    self._running[lane] = batch  # Who leaves from now on may end it.
                    return batch
                self._wake()
            self._free[lane].wait()
        return None

    def _next_lane(self) -> Lane | None:
        """Of the free lanes one of the device that runs the fewest calls; the last to come free.

        Else two calls may take turns on one device while another has nothing to do.
        """
        calls = Counter(lane.place for lane in self._running)
        return min(reversed(self._free), key=lambda lane: calls[lane.place], default=None)

    def _wake(self) -> None:
        """Has the next lane look at what waits; each hands on what is not its own."""
        lane = self._next_lane()
        if lane is not None:
            self._free[lane].notify()

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

    def _form_batch(self, ready: Sequence[Ticket], execution: Execution) -> Batch:
        """Whose turn it is, with everyone who can share its batch; finished tickets leave."""
        order = sorted(ready, key=self._order)
        batch = Batch(share_out(order), execution)
        taken = {id(share.ticket): share.stop for share in batch.shares}
        waiting = [each for each in self._waiting if taken.get(id(each), each.taken) < each.size]
        # All is ready: what fails above, for want of memory, say, has changed nothing.
        self._alone |= batch.alone
        self._turn = max(self._turn, order[0].account.turn)
        batch.take()
        self._waiting = waiting
        return batch

    def _order(self, ticket: Ticket) -> tuple[float, float]:
        """Who goes first: the least device time for its priority, after one call more.

        Without that call a newcomer of any priority would come in behind all who wait. Among
        equals the nearest deadline goes first.
        """
        account, deadline = ticket.account, ticket.control.deadline
        finish = account.turn + self._usual_seconds / account.weight
        return finish, math.inf if deadline is None else deadline

    def _run(self, batch: Batch, lane: Lane) -> None:
        try:
            try:
                deliver = self._billed(batch)
            finally:
                self._leave(lane)
            deliver()
        except Exception as error:  # whatever failed, the lane goes on
            self._fail(batch, error)

    def _leave(self, lane: Lane) -> None:
        """Frees the lane's device, before its results go out: who waits for them may ask more."""
        with self._state:
            if held := self._running.pop(lane).alone:
                self._alone -= held
                self._wake()

    def _billed(self, batch: Batch) -> Callable[[], None]:
        """Runs a batch; what it returns hands the results over.

        The device time is billed however it ends: else those whose calls fail, or are ended by
        their deadline, would be served for nothing, and before everybody else. It begins with
        the call's turn, where it had to wait for one.
        """
        began, deliver = time.monotonic(), None
        try:
            deliver = batch.run()
            return deliver
        finally:
            with self._state:
                turn, ended = batch.execution.turn.began, time.monotonic()
                began, is_done = began if turn is None else turn, deliver is not None
                batch.bill(began, ended, is_done)
                self._advance(ended - began)
                self._workload = batch.counted(self._workload, ended - began, is_done)

    def _advance(self, seconds: float) -> None:
        """Moves virtual time on by a call's device time, over the weights of all who wait or run.

        So newcomers come in behind those who were served a while ago: else a stream of single
        calls, each an account of its own, would keep these out for ever.
        """
        running = (ticket for batch in self._running.values() for ticket in batch.tickets)
        accounts = {id(each.account): each.account for each in (*self._waiting, *running)}
        self._turn += seconds / sum(account.weight for account in accounts.values())
        share = _NEWEST_CALLS_SHARE if self._usual_seconds else 1
        self._usual_seconds += share * (seconds - self._usual_seconds)

    def _fail(self, batch: Batch, error: Exception) -> None:
        """Fails the tickets of a batch; the lane and everyone else go on."""
        if isinstance(error, ComputeFailed) or not isinstance(error, SalienceError):
            _log.error("a batch failed", exc_info=error.__cause__ or error)
        if isinstance(error, SalienceError):
            error = anew(error)  # Its frames hold this batch, whose tickets are to hold it.
        else:
            error = ComputeFailed("the model failed on the device")
        failed = batch.tickets
        with self._state:
            self._waiting = [ticket for ticket in self._waiting if ticket not in failed]
        for ticket in failed:
            ticket.fail(error)
