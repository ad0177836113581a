"""Explanations in worker threads, a bounded number at a time, each with a mailbox to the loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import TypeVar

from salience.v1 import explanation_service_pb2 as pb
from salience_service.access.client import Client
from salience_service.access.permits import permit_methods, permit_model
from salience_service.access.quotas import Quotas
from salience_service.access.turnstile import Turnstile
from salience_service.control import Control
from salience_service.errors import Overloaded, SalienceError
from salience_service.explanation.plan import MOST_METHODS
from salience_service.host_threads import hand_over
from salience_service.rpc import answer
from salience_service.rpc.answer import Explainer
from salience_service.rpc.calls.call import heard
from salience_service.rpc.calls.caller import current_caller, current_client, request_id
from salience_service.rpc.calls.door import Door
from salience_service.rpc.calls.mailbox import Mailbox
from salience_service.rpc.calls.observation import Observation
from salience_service.rpc.calls.refusal import refusal
from salience_service.rpc.wire.gathering import is_end
from salience_service.telemetry.records import Arrival
from salience_service.telemetry.witness import NOBODY, Witness

T = TypeVar("T")


class Explanations:
    """Runs explanations for handlers on the event loop. Made on that loop.

    Args:
        engine: who answers.
        most: explanations at a time, ≥ 1; one more is refused, nothing queues.
        witness: is told of every explanation, and of those refused here.
        door: nothing begins once it is closed.
        most_each: explanations of one client at a time; 0 = `most`.
        quotas: that clients have.
    """

    def __init__(
        self,
        engine: Explainer,
        most: int,
        witness: Witness = NOBODY,
        door: Door | None = None,
        most_each: int = 0,
        quotas: Quotas | None = None,
    ) -> None:
        self._engine = engine
        self._most = most
        self._running = Turnstile("explanations", most, most_each or most)
        self._quotas = quotas or Quotas()
        self._witness = witness
        self._door = door or Door()
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="salience-explain")
        self._open: dict[Control, Mailbox | None] = {}
        self._open_calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def run(
        self, request: pb.ExplainRequest, deadline: float | None
    ) -> AsyncIterator[AsyncIterator[pb.ExplainResponse]]:
        """Explains while the block lasts; leaving it, for whatever reason, stops the work.

        Args:
            request: what to explain; it is read and checked in the worker thread.
            deadline: `time.monotonic()` seconds, or None.

        Raises:
            Overloaded: as many explanations run already as may, in all or of one client, or no
                thread can be started.
            QuotaExceeded: the client has asked for too many.
            Unavailable: the door is closed.
            NotFound: the model does not exist for the caller.
            PermissionDenied: the caller may not ask for a method.
        """
        arrival = Arrival(request_id(), current_caller().name, time.monotonic())
        client = current_client()
        coming: Future[Callable[[], None]] = Future()
        self._let_in(request, client, coming)
        charge_rows = partial(self._quotas.charge_rows, client)
        control, mailbox = Control(deadline, charge_rows, arrival.principal), Mailbox()
        observation = Observation(arrival, self._witness.began(arrival))
        self._enter(control, mailbox)
        try:
            coming.set_result(partial(self._work, request, client, control, mailbox, observation))
            yield mailbox
        finally:
            control.cancel()
            mailbox.close()
            self._leave(control)

    async def once(self, work: Callable[[Control], T], deadline: float | None) -> T:
        """Runs what has but one answer, counted as an explanation; cancelling it stops the work.

        Args:
            work: called in a worker thread.
            deadline: `time.monotonic()` seconds, or None.

        Raises:
            Overloaded, QuotaExceeded, Unavailable: as for `run`.
            SalienceError: whatever ends the work.
        """
        self._door.check()
        client = current_client()
        self._quotas.charge_request(client)
        coming: Future[Callable[[], T]] = Future()
        done = asyncio.wrap_future(self._thread_for(coming, client))
        done.add_done_callback(heard)
        control = Control(deadline, partial(self._quotas.charge_rows, client))
        self._enter(control)
        try:
            coming.set_result(partial(self._only, work, client, control))
            await asyncio.wait({done})  # Cancelled, it leaves the work to end by its control.
            return done.result()
        finally:
            control.cancel()
            self._leave(control)
            del done  # An error that it holds holds this frame.

    def refused(self, error: SalienceError) -> None:
        """Tells the witness of a request that did not become an explanation."""
        self._witness.refused(refusal(error))

    def _let_in(
        self, request: pb.ExplainRequest, client: Client, coming: Future[Callable[[], None]]
    ) -> None:
        caller = current_caller()
        try:
            self._door.check()
            self._quotas.charge_request(client)
            permit_model(caller, request.model)
            # More than may be are refused where the request is read: here millions would hold
            # up the event loop.
            permit_methods(caller, (method.name for method in request.methods[:MOST_METHODS]))
            self._thread_for(coming, client)
        except SalienceError as error:
            self.refused(error)
            raise

    def _thread_for(self, coming: Future[Callable[[], T]], client: Client) -> Future[T]:
        """Enters the turnstile with a thread, which waits for the work that is coming.

        Raises:
            Overloaded: as many run already as may, or no thread can be started.
        """
        self._running.enter(client)
        try:
            return self._threads.submit(lambda: coming.result()())
        except (RuntimeError, MemoryError) as error:
            # The pool queues before it starts a thread: one that comes free finds nothing to do.
            coming.cancel()
            self._running.leave(client)
            raise Overloaded("no thread can be started here now; try again later") from error

    @contextmanager
    def call_of_many(self) -> Iterator[None]:
        """Counts a call of many while it lasts, so that idle ones leave room for all else.

        Raises:
            Overloaded: as many of them are open as explanations may run.
        """
        if self._open_calls >= self._most:
            full = Overloaded(
                f"{self._open_calls} ExplainMany calls are open, the limit; try again later"
            )
            self.refused(full)
            raise full
        self._open_calls += 1
        try:
            yield
        finally:
            self._open_calls -= 1

    async def idle(self) -> None:
        """Waits until no explanation is being answered."""
        await self._idle.wait()

    def end_all(self, because: SalienceError) -> None:
        """Ends every explanation that is being answered; its caller is told why."""
        for control, mailbox in tuple(self._open.items()):
            control.cancel(because)
            if mailbox:  # Its thread may be in a call that does not return.
                mailbox.end(because)

    async def close(self) -> None:
        """Waits for the worker threads, which end within a device batch of their cancellation."""
        await asyncio.to_thread(self._threads.shutdown)

    def _work(
        self,
        request: pb.ExplainRequest,
        client: Client,
        control: Control,
        mailbox: Mailbox,
        observation: Observation,
    ) -> None:
        """In a worker thread: from the request message to the last response message."""
        failure: BaseException | None = None
        last: pb.ExplainResponse | None = None
        try:
            with closing(answer.explain(self._engine, request, control, observation)) as responses:
                for response in responses:
                    if is_end(response):
                        last = response
                    else:
                        mailbox.put(response)
        except BaseException as error:  # handed to the reader, who tells the caller
            failure = error
        # Before the caller can know of the end, so that its next request finds room.
        self._running.leave(client)
        mailbox.end(failure, last)
        # Its traceback holds this frame and all maps: a ring that only the collector would open.
        failure = None

    def _only(self, work: Callable[[Control], T], client: Client, control: Control) -> T:
        """In a worker thread: work that has but one answer."""
        try:
            return work(control)
        finally:
            self._running.leave(client)

    def _enter(self, control: Control, mailbox: Mailbox | None = None) -> None:
        self._open[control] = mailbox
        self._idle.clear()
        hand_over(len(self._open))

    def _leave(self, control: Control) -> None:
        del self._open[control]
        hand_over(len(self._open))
        if not self._open:
            self._idle.set()
