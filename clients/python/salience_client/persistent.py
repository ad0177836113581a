"""Makes calls, and makes them again where that is safe, over a transport of either kind."""

import asyncio
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import AbstractContextManager, aclosing, closing, contextmanager, suppress
from typing import TypeVar

import tenacity

from salience.v1.explanation_service_pb2 import ExplainRequest
from salience_client.errors import BrokenAnswer, SalienceError, Unauthenticated
from salience_client.events import Event, Failed, Finished, Restarted
from salience_client.feed import AsyncFeed, Feed
from salience_client.many import Conversation, TaggedRequest
from salience_client.reader import AnswerReader
from salience_client.retries import (
    Deadline,
    RetryPolicy,
    count_anew,
    retrying,
    retrying_async,
)
from salience_client.transport import AsyncTransport, Transport

T = TypeVar("T")
Request = TypeVar("Request")
Tagged = tuple[str, Event | Failed]


class Persistent:
    """Calls over a blocking transport; safe from any thread. Timeouts are of the whole call.

    Args:
        transport: its owner closes it, after this.
        policy: what is asked again.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy) -> None:
        self._transport, self._policy = transport, policy
        self._closed = threading.Event()
        self._feeds = set[Feed]()

    def call(
        self, method: Callable[[Request, float | None], T], request: Request, timeout: float | None
    ) -> T:
        """The one answer of a method of the transport."""
        deadline = Deadline(timeout)
        return self._attempts(deadline)(lambda: method(request, deadline.remaining()))

    def events(self, request: ExplainRequest, timeout: float | None) -> Generator[Event]:
        """The events of one answer; `Restarted` before those of another attempt."""
        deadline, past = Deadline(timeout), _Past()
        for attempt in self._attempts(deadline):
            with attempt, past:
                yield from past.voided()
                with closing(self._one_answer(request, deadline)) as events:
                    yield from past.hear(events)

    def many(self, requests: Iterable[TaggedRequest], timeout: float | None) -> Generator[Tagged]:
        """The events of many answers over one call, or several where one breaks off."""
        deadline, past = Deadline(timeout), _Past()
        with self._feed(requests, deadline) as feed:
            for attempt in self._attempts(deadline):
                with attempt, past:
                    while not feed.done:
                        yield from feed.begin_call(past.error)
                        feed.await_request()
                        yield from self._one_call(feed, deadline, attempt, past)

    def close(self) -> None:
        """Ends every wait; the attempt after it finds the transport closed."""
        self._closed.set()
        for feed in tuple(self._feeds):
            feed.wake()

    @contextmanager
    def _feed(self, requests: Iterable[TaggedRequest], deadline: Deadline) -> Iterator[Feed]:
        conversation = Conversation(self._policy)
        with closing(Feed(requests, conversation, deadline, self._closed)) as feed:
            self._feeds.add(feed)
            try:
                yield feed
            finally:
                self._feeds.discard(feed)

    def _one_answer(self, request: ExplainRequest, deadline: Deadline) -> Generator[Event]:
        reader = AnswerReader()
        answer = self._transport.explain(request, deadline.remaining())
        with _whole_is_whole(lambda: reader.finished), closing(answer):
            for message in answer:
                yield from reader.read(message)
        reader.end()

    def _one_call(
        self, feed: Feed, deadline: Deadline, attempt: tenacity.AttemptManager, past: "_Past"
    ) -> Generator[Tagged]:
        answers = self._transport.explain_many(feed.messages(), deadline.remaining())
        progress = _Progress(attempt)
        try:
            with _whole_is_whole(lambda: feed.all_answered), closing(answers):
                for message in answers:
                    for tagged in feed.read(message):
                        progress.note(tagged)
                        yield tagged
        except SalienceError as error:
            too_long = feed.fail_too_long(error)
            if not _is_excused(error, bool(too_long), progress.made, feed.idle, self._policy):
                raise
            past.error = error
            for tagged in too_long:
                progress.note(tagged)
                yield tagged
            return
        feed.end_call()

    def _attempts(self, deadline: Deadline) -> tenacity.Retrying:
        return retrying(self._policy, deadline, self._pause)

    def _pause(self, seconds: float) -> None:
        self._closed.wait(seconds)


class AsyncPersistent:
    """The same over an asynchronous transport, in one event loop."""

    def __init__(self, transport: AsyncTransport, policy: RetryPolicy) -> None:
        self._transport, self._policy = transport, policy
        self._closed = asyncio.Event()

    async def call(
        self,
        method: Callable[[Request, float | None], Awaitable[T]],
        request: Request,
        timeout: float | None,
    ) -> T:
        """As `Persistent.call`."""
        deadline = Deadline(timeout)

        async def once() -> T:
            return await method(request, deadline.remaining())

        return await self._attempts(deadline)(once)

    async def events(self, request: ExplainRequest, timeout: float | None) -> AsyncGenerator[Event]:
        """As `Persistent.events`."""
        deadline, past = Deadline(timeout), _Past()
        async for attempt in self._attempts(deadline):
            with attempt, past:
                for voided in past.voided():
                    yield voided
                async with aclosing(self._one_answer(request, deadline, past)) as events:
                    async for event in events:
                        yield event

    async def many(
        self,
        requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
        timeout: float | None,
    ) -> AsyncGenerator[Tagged]:
        """As `Persistent.many`."""
        deadline, past = Deadline(timeout), _Past()
        conversation = Conversation(self._policy)
        async with aclosing(AsyncFeed(requests, conversation, deadline, self._closed)) as feed:
            async for attempt in self._attempts(deadline):
                with attempt, past:
                    while not feed.done:
                        for tagged in await feed.begin_call(past.error):
                            yield tagged
                        await feed.await_request()
                        async with aclosing(
                            self._one_call(feed, deadline, attempt, past)
                        ) as answers:
                            async for tagged in answers:
                                yield tagged

    def close(self) -> None:
        """As `Persistent.close`."""
        self._closed.set()

    async def _one_answer(
        self, request: ExplainRequest, deadline: Deadline, past: "_Past"
    ) -> AsyncGenerator[Event]:
        reader = AnswerReader()
        answer = self._transport.explain(request, deadline.remaining())
        with _whole_is_whole(lambda: reader.finished):
            async with aclosing(answer):
                async for message in answer:
                    for event in past.hear(reader.read(message)):
                        yield event
        reader.end()

    async def _one_call(
        self,
        feed: AsyncFeed,
        deadline: Deadline,
        attempt: tenacity.AttemptManager,
        past: "_Past",
    ) -> AsyncGenerator[Tagged]:
        answers = self._transport.explain_many(feed.messages(), deadline.remaining())
        progress = _Progress(attempt)
        try:
            with _whole_is_whole(lambda: feed.all_answered):
                async with aclosing(answers):
                    async for message in answers:
                        for tagged in await feed.read(message):
                            progress.note(tagged)
                            yield tagged
        except SalienceError as error:
            too_long = await feed.fail_too_long(error)
            if not _is_excused(error, bool(too_long), progress.made, feed.idle, self._policy):
                raise
            past.error = error
            for tagged in too_long:
                progress.note(tagged)
                yield tagged
            return
        feed.end_call()

    def _attempts(self, deadline: Deadline) -> tenacity.AsyncRetrying:
        return retrying_async(self._policy, deadline, self._pause)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()


class _Past(AbstractContextManager["_Past"]):
    """What the attempts so far came to: whether events were told, and the last error."""

    def __init__(self) -> None:
        self.error: SalienceError | None = None
        self._heard = False

    def hear(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, which are now told."""
        for event in events:
            self._heard = True
            yield event

    def voided(self) -> Iterator[Restarted]:
        """Says that what was told is void, if anything was."""
        if self._heard and self.error is not None:
            self._heard = False
            yield Restarted(self.error)

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if isinstance(error, SalienceError):
            self.error = error


def _is_excused(
    error: SalienceError, too_long: bool, answered: bool, idle: bool, policy: RetryPolicy
) -> bool:
    """Whether a call that ended so is followed by another, without counting as an attempt.

    The next leaves out what was too long, shows a token that ended anew, or has something to ask.

    Args:
        error: what ended it.
        too_long: whether requests of it failed, being longer than the server takes.
        answered: whether it answered anything.
        idle: whether nothing waited for its answer.
        policy: what is asked again.
    """
    has_token_ended = answered and isinstance(error, Unauthenticated)
    return too_long or has_token_ended or (idle and policy.allows(error))


@contextmanager
def _whole_is_whole(complete: Callable[[], bool]) -> Iterator[None]:
    """A call that breaks off once everything was answered takes nothing of that away."""
    try:
        yield
    except SalienceError as error:
        if isinstance(error, BrokenAnswer) or not complete():
            raise


class _Progress:
    """Whether a call has answered anything; attempts are counted anew where it has."""

    def __init__(self, attempt: tenacity.AttemptManager) -> None:
        self.made = False
        self._attempt = attempt

    def note(self, tagged: Tagged) -> None:
        """Takes notice of an event."""
        if isinstance(tagged[1], Finished | Failed):
            self.made = True
            count_anew(self._attempt)
