"""Explanations in worker threads, a bounded number at a time, each with a mailbox to the loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager

from salience.v1 import explanation_service_pb2 as pb
from salience_service.control import Control
from salience_service.errors import Overloaded
from salience_service.rpc import answer
from salience_service.rpc.answer import Explainer
from salience_service.rpc.mailbox import Mailbox


class Explanations:
    """Runs explanations for handlers on the event loop. Made on that loop.

    Args:
        engine: who answers.
        most: explanations at a time, ≥ 1; one more is refused, nothing queues.
    """

    def __init__(self, engine: Explainer, most: int) -> None:
        self._engine = engine
        self._most = most
        self._free = threading.BoundedSemaphore(most)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="salience-explain")
        self._open = 0
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
            Overloaded: `most` explanations run already.
        """
        if not self._free.acquire(blocking=False):
            raise Overloaded(f"{self._most} explanations are running, the limit; try again later")
        control, mailbox = Control(deadline), Mailbox()
        self._threads.submit(self._work, request, control, mailbox)
        self._enter()
        try:
            yield mailbox
        finally:
            control.cancel()
            mailbox.close()
            self._leave()

    @contextmanager
    def call_of_many(self) -> Iterator[None]:
        """Counts a call of many while it lasts, so that idle ones leave room for all else.

        Raises:
            Overloaded: as many of them are open as explanations may run.
        """
        if self._open_calls >= self._most:
            raise Overloaded(
                f"{self._open_calls} ExplainMany calls are open, the limit; try again later"
            )
        self._open_calls += 1
        try:
            yield
        finally:
            self._open_calls -= 1

    async def idle(self) -> None:
        """Waits until no explanation is being answered."""
        await self._idle.wait()

    async def close(self) -> None:
        """Waits for the worker threads, which end within a device batch of their cancellation."""
        await asyncio.to_thread(self._threads.shutdown)

    def _work(self, request: pb.ExplainRequest, control: Control, mailbox: Mailbox) -> None:
        """In a worker thread: from the request message to the last response message."""
        failure: BaseException | None = None
        try:
            with closing(answer.explain(self._engine, request, control)) as responses:
                for response in responses:
                    mailbox.put(response)
        except BaseException as error:  # handed to the reader, who tells the caller
            failure = error
        # Before the caller can know of the end, so that its next request finds room.
        self._free.release()
        mailbox.end(failure)

    def _enter(self) -> None:
        self._open += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()
