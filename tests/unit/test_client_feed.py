"""Requests of many that are long in coming: calls break meanwhile, time passes, clients close."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from salience_client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    Finished,
    RetryPolicy,
    Unavailable,
    explain_request,
)
from tests.support.breaking_calls import AsyncBreakingCalls, BreakingCalls

GONE = Unavailable("the connection ended")
NEVER_SECONDS = 20
"""How long a test waits for what comes at once."""


class BreaksUnasked(BreakingCalls):
    """Answers one request a call, which then breaks.

    Attributes:
        broken: released where a call breaks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken = threading.Semaphore(0)

    def explain_many(self, requests, timeout):
        for request in requests:
            self.sent.append([request.tag])
            yield from self._turn(request)
            self.broken.release()
            raise GONE


class AsyncBreaksUnasked(AsyncBreakingCalls):
    """The same on asyncio."""

    async def explain_many(self, requests, timeout):
        async for request in requests:
            self.inner.sent.append([request.tag])
            for message in self.inner._turn(request):
                yield message
            self.inner.broken.release()
            raise GONE


def request():
    return explain_request(b"png", model="lite0", methods="score-cam")


def one_a_break(transport: BreaksUnasked, tags: str) -> Iterator:
    """A request as soon as the call of the one before has broken."""
    for tag in tags:
        yield tag, request()
        assert transport.broken.acquire(timeout=NEVER_SECONDS)


async def one_a_break_async(transport: BreaksUnasked, tags: str) -> AsyncIterator:
    for tag in tags:
        yield tag, request()
        assert await asyncio.to_thread(transport.broken.acquire, timeout=NEVER_SECONDS)


@pytest.mark.parametrize("retries", [None, RetryPolicy(attempts=2, first_wait=0.001)])
def test_a_call_that_breaks_while_nothing_is_asked_is_no_attempt(retries):
    transport = BreaksUnasked()
    client = Client(transport, retries=retries)

    told = list(client.explain_many(one_a_break(transport, "abcd")))

    assert [tag for tag, event in told if isinstance(event, Finished)] == list("abcd")
    assert transport.sent == [["a"], ["b"], ["c"], ["d"]]


@pytest.mark.parametrize("retries", [None, RetryPolicy(attempts=2, first_wait=0.001)])
def test_nor_is_it_on_asyncio(retries):
    transport = BreaksUnasked()

    async def ask():
        client = AsyncClient(AsyncBreaksUnasked(transport), retries=retries)
        return [
            tag
            async for tag, event in client.explain_many(one_a_break_async(transport, "abcd"))
            if isinstance(event, Finished)
        ]

    assert asyncio.run(ask()) == list("abcd")
    assert transport.sent == [["a"], ["b"], ["c"], ["d"]]


def test_the_deadline_ends_the_wait_for_a_request_between_two_calls():
    let_go = threading.Event()

    def requests():
        yield "a", request()
        let_go.wait(NEVER_SECONDS)

    with pytest.raises(DeadlineExceeded):
        list(Client(BreaksUnasked()).explain_many(requests(), timeout=0.2))
    assert not let_go.is_set()
    let_go.set()


def test_closing_the_client_ends_the_wait_for_a_request_between_two_calls():
    transport, let_go = BreaksUnasked(), threading.Event()
    client = Client(transport)

    def requests():
        yield from one_a_break(transport, "a")
        client.close()
        let_go.wait(NEVER_SECONDS)

    with pytest.raises(Cancelled, match="the client was closed"):
        list(client.explain_many(requests()))
    let_go.set()


@pytest.mark.parametrize("closes", [True, False])
def test_on_asyncio_that_wait_ends_too(closes):
    transport = BreaksUnasked()

    async def ask():
        client = AsyncClient(AsyncBreaksUnasked(transport))

        async def requests():
            async for each in one_a_break_async(transport, "a"):
                yield each
            if closes:
                await client.close()
            await asyncio.Event().wait()

        async with asyncio.timeout(NEVER_SECONDS):
            async for _ in client.explain_many(requests(), timeout=600 if closes else 0.2):
                pass

    with pytest.raises(Cancelled if closes else DeadlineExceeded):
        asyncio.run(ask())


def test_on_asyncio_requests_that_block_are_read_beside_the_loop_by_one_thread():
    answered, threads = threading.Semaphore(0), set()

    def requests():
        for tag in "abc":
            threads.add(threading.current_thread())
            yield tag, request()
            assert answered.acquire(timeout=NEVER_SECONDS)

    async def ask():
        client = AsyncClient(AsyncBreakingCalls(BreakingCalls()), retries=None)
        async for _, event in client.explain_many(requests()):
            if isinstance(event, Finished):
                answered.release()

    asyncio.run(ask())
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_neither_a_deadline_on_asyncio_nor_the_loop_waits_for_requests_that_block():
    let_go, closed = threading.Event(), threading.Event()

    def requests():
        try:
            yield "a", request()
            assert let_go.wait(NEVER_SECONDS)
            yield "b", request()
            pytest.fail("read on after its end")
        finally:
            closed.set()

    async def ask():
        async for _ in AsyncClient(AsyncBreaksUnasked(BreaksUnasked())).explain_many(
            requests(), timeout=0.2
        ):
            pass

    with pytest.raises(DeadlineExceeded):
        asyncio.run(ask())
    assert not closed.is_set()
    let_go.set()
    assert closed.wait(NEVER_SECONDS)


def test_on_asyncio_requests_that_cannot_be_begun_say_why():
    class Lost:
        def __iter__(self):
            raise FileNotFoundError("cats")

    async def ask():
        client = AsyncClient(AsyncBreakingCalls(BreakingCalls()))
        return [each async for each in client.explain_many(Lost())]

    with pytest.raises(FileNotFoundError, match="cats"):
        asyncio.run(ask())
