"""Feeds the requests of `explain_many` to one call after the other; each is read once.

A thread, or a task, of its own reads the caller's iterable: gRPC's readers come and go with their
calls, and what they had just taken when a call broke would be lost.
"""

import asyncio
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import aclosing, suppress
from typing import Any

from salience.v1.explanation_service_pb2 import ExplainManyRequest, ExplainManyResponse
from salience_client.errors import CLOSED, Cancelled, SalienceError
from salience_client.events import Event, Failed
from salience_client.many import Conversation, TaggedRequest
from salience_client.retries import Deadline
from salience_client.thread_reading import from_a_thread

_Tagged = list[tuple[str, Event | Failed]]


class Feed:
    """A conversation shared by the caller's thread, gRPC's, and one that reads the requests.

    Args:
        requests: read from a thread of its own, as far as there is room.
        conversation: what was asked, and is unanswered.
        deadline: no wait goes beyond it.
        closed: whether the client is; whoever sets it calls `wake`.
    """

    def __init__(
        self,
        requests: Iterable[TaggedRequest],
        conversation: Conversation,
        deadline: Deadline,
        closed: threading.Event,
    ) -> None:
        self._conversation = conversation
        self._deadline, self._closed = deadline, closed
        self._changed = threading.Condition()
        self._call = 0
        self._reader = threading.Thread(
            target=self._read_all, args=(requests,), name="salience-requests", daemon=True
        )

    def begin_call(self, why: SalienceError | None) -> _Tagged:
        """Before each call; see `Conversation.begin_call`."""
        with self._changed:
            if not self._call:
                self._reader.start()
            self._call += 1
            events: _Tagged = list(self._conversation.begin_call(why))
            self._changed.notify_all()
        return events

    def await_request(self) -> None:
        """Waits until the call has something to ask, or the last request was read.

        A call that asks nothing could only break.

        Raises:
            Cancelled: the client was closed.
            DeadlineExceeded: nothing came in time.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not self._conversation.idle or self._closed.is_set(),
                self._deadline.remaining(),
            )
            _check(self._conversation, self._closed, self._deadline)

    def messages(self) -> Iterator[ExplainManyRequest]:
        """What the call that was begun last is to send.

        Ends with it, with the last request, at the deadline, and where the client is closed: not
        every transport can end a wait that is not its own.
        """
        return self._messages(self._call)

    def read(self, message: ExplainManyResponse) -> _Tagged:
        """See `Conversation.read`."""
        return self._told(self._conversation.read(message, time.monotonic()))

    def fail_too_long(self, why: SalienceError) -> _Tagged:
        """See `Conversation.fail_too_long`."""
        return self._told(self._conversation.fail_too_long(why))

    def end_call(self) -> None:
        """See `Conversation.end_call`; raises as `await_request` where that ended the call."""
        with self._changed:
            _check(self._conversation, self._closed, self._deadline)
            self._conversation.end_call()

    @property
    def idle(self) -> bool:
        """See `Conversation.idle`."""
        return self._conversation.idle

    @property
    def all_answered(self) -> bool:
        """See `Conversation.all_answered`."""
        return self._conversation.all_answered

    @property
    def done(self) -> bool:
        """Whether all is answered, and the call that did has ended."""
        return self._conversation.done

    def wake(self) -> None:
        """Ends every wait that has nothing to wait for any more."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """No more is sent, nor read from the caller, beyond what is being read just now."""
        with self._changed:
            self._call = -1
            self._changed.notify_all()

    def _told(self, telling: Iterator[tuple[str, Event | Failed]]) -> _Tagged:
        """What the conversation tells, which it does while nobody else has it."""
        with self._changed:
            events = list(telling)
            self._changed.notify_all()
        return events

    def _messages(self, call: int) -> Iterator[ExplainManyRequest]:
        while (message := self._next(call)) is not None:
            yield message

    def _next(self, call: int) -> ExplainManyRequest | None:
        with self._changed:
            while self._call == call and not (self._conversation.all_sent or self._is_over):
                now = time.monotonic()
                if message := self._conversation.take(now):
                    return message
                waits = (self._conversation.wait(now), self._deadline.remaining())
                self._changed.wait(min((each for each in waits if each is not None), default=None))
        return None

    @property
    def _is_over(self) -> bool:
        return self._closed.is_set() or self._deadline.remaining() == 0

    def _read_all(self, requests: Iterable[TaggedRequest]) -> None:
        try:
            for tag, request in requests:
                with self._changed:
                    self._conversation.enter(tag, request)
                    self._changed.notify_all()
                if not self._room_came():
                    break
            if isinstance(requests, Generator):
                requests.close()
        except BaseException as fault:  # carried to the caller's side: here an exit ends a thread
            self._conversation.fault = fault
        with self._changed:
            self._conversation.complete = True
            self._changed.notify_all()

    def _room_came(self) -> bool:
        """Waits for room; False where the feed was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._call < 0 or self._conversation.has_room)
            return self._call >= 0


class AsyncFeed:
    """The same on one event loop; `requests` may be asynchronous, and have a thread if not."""

    def __init__(
        self,
        requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
        conversation: Conversation,
        deadline: Deadline,
        closed: asyncio.Event,
    ) -> None:
        self._requests = requests
        self._conversation = conversation
        self._deadline, self._closed = deadline, closed
        self._changed = asyncio.Condition()
        self._call = 0
        self._reader: asyncio.Task[None] | None = None

    async def begin_call(self, why: SalienceError | None) -> _Tagged:
        """As `Feed.begin_call`."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_all())
        async with self._changed:
            self._call += 1
            events: _Tagged = list(self._conversation.begin_call(why))
            self._changed.notify_all()
        return events

    async def await_request(self) -> None:
        """As `Feed.await_request`."""
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._request_came()),
            asyncio.ensure_future(self._closed.wait()),
        ]
        try:
            await asyncio.wait(
                waits,
                timeout=self._deadline.remaining(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for wait in waits:
                wait.cancel()
        _check(self._conversation, self._closed, self._deadline)

    def messages(self) -> AsyncIterator[ExplainManyRequest]:
        """What the call that was begun last is to send; ends with it, or with the last request."""
        return self._messages(self._call)

    async def read(self, message: ExplainManyResponse) -> _Tagged:
        """As `Feed.read`."""
        return await self._told(self._conversation.read(message, time.monotonic()))

    async def fail_too_long(self, why: SalienceError) -> _Tagged:
        """As `Feed.fail_too_long`."""
        return await self._told(self._conversation.fail_too_long(why))

    def end_call(self) -> None:
        """As `Feed.end_call`."""
        self._conversation.end_call()

    @property
    def idle(self) -> bool:
        """As `Feed.idle`."""
        return self._conversation.idle

    @property
    def all_answered(self) -> bool:
        """As `Feed.all_answered`."""
        return self._conversation.all_answered

    @property
    def done(self) -> bool:
        """As `Feed.done`."""
        return self._conversation.done

    async def aclose(self) -> None:
        """As `Feed.close`; the reading of asynchronous requests is cancelled."""
        async with self._changed:
            self._call = -1
            self._changed.notify_all()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def _told(self, telling: Iterator[tuple[str, Event | Failed]]) -> _Tagged:
        """As `Feed._told`."""
        async with self._changed:
            events = list(telling)
            self._changed.notify_all()
        return events

    async def _messages(self, call: int) -> AsyncIterator[ExplainManyRequest]:
        while (message := await self._next(call)) is not None:
            yield message

    async def _next(self, call: int) -> ExplainManyRequest | None:
        async with self._changed:
            while self._call == call and not self._conversation.all_sent:
                now = time.monotonic()
                if message := self._conversation.take(now):
                    return message
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._conversation.wait(now)):
                        await self._changed.wait()
        return None

    async def _read_all(self) -> None:
        try:
            async with aclosing(_either(self._requests)) as requests:
                async for tag, request in requests:
                    async with self._changed:
                        self._conversation.enter(tag, request)
                        self._changed.notify_all()
                    if not await self._room_came():
                        break
        except asyncio.CancelledError as fault:
            if self._call < 0:  # We are; else what the caller's iterable waits for was.
                raise
            self._conversation.fault = fault
        except Exception as fault:  # carried to the caller's side, not swallowed
            self._conversation.fault = fault
        async with self._changed:
            self._conversation.complete = True
            self._changed.notify_all()

    async def _request_came(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._conversation.idle)

    async def _room_came(self) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: self._call < 0 or self._conversation.has_room)
            return self._call >= 0


async def _either(
    requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
) -> AsyncGenerator[TaggedRequest]:
    """The same requests; closing it closes a generator of the caller's."""
    if not isinstance(requests, AsyncIterable):
        requests = from_a_thread(requests)
    if isinstance(requests, AsyncGenerator):
        async with aclosing(requests):
            async for request in requests:
                yield request
    else:
        async for request in requests:
            yield request


def _check(
    conversation: Conversation, closed: threading.Event | asyncio.Event, deadline: Deadline
) -> None:
    """Raises Cancelled or DeadlineExceeded where it is one of them that ends the conversation."""
    if conversation.all_answered:
        return
    if closed.is_set():
        raise Cancelled(CLOSED)
    deadline.check()
