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

from salience.v1.explanation_service_pb2 import ExplainManyRequest, ExplainManyResponse
from salience_client.errors import SalienceError
from salience_client.events import Event, Failed
from salience_client.many import Conversation, TaggedRequest

_Tagged = list[tuple[str, Event | Failed]]


class Feed:
    """A conversation shared by the caller's thread, gRPC's, and one that reads the requests.

    Args:
        requests: read from a thread of its own, as far as there is room.
        conversation: what was asked, and is unanswered.
    """

    def __init__(self, requests: Iterable[TaggedRequest], conversation: Conversation) -> None:
        self._conversation = conversation
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

    def messages(self) -> Iterator[ExplainManyRequest]:
        """What the call that was begun last is to send; ends with it, or with the last request."""
        return self._messages(self._call)

    def read(self, message: ExplainManyResponse) -> _Tagged:
        """See `Conversation.read`."""
        return self._told(self._conversation.read(message, time.monotonic()))

    def fail_too_long(self, why: SalienceError) -> _Tagged:
        """See `Conversation.fail_too_long`."""
        return self._told(self._conversation.fail_too_long(why))

    def end_call(self) -> None:
        """See `Conversation.end_call`."""
        with self._changed:
            self._conversation.end_call()

    @property
    def all_answered(self) -> bool:
        """See `Conversation.all_answered`."""
        return self._conversation.all_answered

    @property
    def done(self) -> bool:
        """Whether all is answered, and the call that did has ended."""
        return self._conversation.done

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
            while self._call == call and not self._conversation.all_sent:
                now = time.monotonic()
                if message := self._conversation.take(now):
                    return message
                self._changed.wait(self._conversation.wait(now))
        return None

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
    """The same on one event loop; `requests` may be asynchronous too."""

    def __init__(
        self,
        requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
        conversation: Conversation,
    ) -> None:
        self._requests = requests
        self._conversation = conversation
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

    def messages(self) -> AsyncIterator[ExplainManyRequest]:
        """As `Feed.messages`."""
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
    def all_answered(self) -> bool:
        """As `Feed.all_answered`."""
        return self._conversation.all_answered

    @property
    def done(self) -> bool:
        """As `Feed.done`."""
        return self._conversation.done

    async def aclose(self) -> None:
        """As `Feed.close`; the reading of the caller's requests is cancelled."""
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

    async def _room_came(self) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: self._call < 0 or self._conversation.has_room)
            return self._call >= 0


async def _either(
    requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
) -> AsyncGenerator[TaggedRequest]:
    """The same requests; closing it closes an asynchronous generator of the caller's."""
    if isinstance(requests, AsyncGenerator):
        async with aclosing(requests):
            async for request in requests:
                yield request
    elif isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
