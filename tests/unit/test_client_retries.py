"""What the client asks again, what it does not, and how long it waits, over made-up transports."""

import asyncio
import threading
import time

import grpc
import pytest

from salience_client import (
    AsyncClient,
    BrokenAnswer,
    Cancelled,
    Client,
    DeadlineExceeded,
    Explanation,
    Finished,
    InvalidRequest,
    NotFound,
    Overloaded,
    QuotaExceeded,
    Restarted,
    RetryPolicy,
    SalienceError,
    ServerFailed,
    Started,
    Unavailable,
)
from salience_client.errors import ERROR_OF_STATUS
from tests.support.unsteady import AsyncUnsteady, Unsteady

ASK = {"model": "lite0", "methods": "score-cam"}
QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.05)
AGAIN = [
    Unavailable("gone"),
    Overloaded("full", retry_after=0.01),
    QuotaExceeded("", retry_after=0),
]
NEVER = [
    *(kind("no", code) for code, kind in ERROR_OF_STATUS.items() if kind is not Unavailable),
    Overloaded("a message over its limit"),
    Overloaded("come again tomorrow", retry_after=86_400),
    Unavailable("for an hour", retry_after=3600),
    Unavailable("aborted", grpc.StatusCode.ABORTED),
]


@pytest.mark.parametrize("error", AGAIN)
def test_what_may_pass_is_asked_again(error):
    transport = Unsteady([error, error, None])

    assert Client(transport, retries=QUICK).models()[0].name == "lite0"
    assert transport.calls == 3


@pytest.mark.parametrize("error", NEVER, ids=lambda error: f"{error.code.name} {error.message}")
def test_what_would_come_again_is_asked_once(error):
    transport = Unsteady([error, None])

    with pytest.raises(type(error)):
        Client(transport, retries=QUICK).models()
    assert transport.calls == 1


def test_no_policy_asks_once():
    transport = Unsteady([Unavailable("gone"), None])

    with pytest.raises(Unavailable):
        Client(transport, retries=None).models()
    assert transport.calls == 1


def test_the_last_attempts_error_comes_out_as_it_is():
    transport = Unsteady([Unavailable("one"), Unavailable("two"), Unavailable("three"), None])

    with pytest.raises(Unavailable, match="three"):
        Client(transport, retries=QUICK).describe("lite0")


def test_a_stream_that_had_told_nothing_begins_anew_without_a_word():
    transport = Unsteady([Unavailable("gone"), None])

    events = list(Client(transport, retries=QUICK).stream(b"png", **ASK))

    assert isinstance(events[0], Started)
    assert not [event for event in events if isinstance(event, Restarted)]


@pytest.mark.parametrize("told", range(1, 7))
def test_a_stream_that_breaks_off_says_so_and_is_told_from_its_start(told):
    error = Unavailable("killed")
    transport = Unsteady([error, None], told=told)

    events = list(Client(transport, retries=QUICK).stream(b"png", **ASK))

    assert events[told] == Restarted(error)
    assert len(events) == told + 1 + 7
    assert isinstance(events[told + 1], Started)


@pytest.mark.parametrize("error", [Unavailable("killed"), DeadlineExceeded(""), ServerFailed("")])
def test_a_whole_answer_stays_whole_however_its_call_ends(error):
    transport, other = Unsteady([error, None], told=7), AsyncUnsteady([error, None], told=7)

    events = list(Client(transport, retries=QUICK).stream(b"png", **ASK))
    explanation = asyncio.run(AsyncClient(other, retries=None).explain(b"png", **ASK))

    assert [type(event) for event in events].count(Finished) == 1
    assert isinstance(events[-1], Finished)
    assert len(explanation.maps) == 1
    assert (transport.calls, other.inner.calls) == (1, 1)


def test_an_answer_that_goes_on_after_its_end_is_broken():
    transport = Unsteady([None])
    transport.answer.append(transport.answer[0])

    with pytest.raises(BrokenAnswer, match="after its end"):
        list(Client(transport, retries=None).stream(b"png", **ASK))


def test_an_explanation_that_breaks_off_is_that_of_the_whole_answer():
    broken = Unsteady([Unavailable("killed"), None], told=5)

    explanation = Client(broken, retries=QUICK).explain(b"png", **ASK)

    assert len(explanation.maps) == 1
    assert explanation.maps[0].rows == 101


def test_what_was_told_before_a_restart_is_no_part_of_an_explanation():
    whole = list(Client(Unsteady([None])).stream(b"png", **ASK))
    with pytest.raises(SalienceError, match="an event is missing"):
        Explanation.of([*whole, Restarted(Unavailable("killed"))])


@pytest.mark.parametrize("attempt", range(1, 8))
def test_waits_double_up_to_the_longest_with_a_random_part(attempt):
    policy = RetryPolicy(attempts=9, first_wait=0.5, longest_wait=4)
    waits = {policy.wait_after(attempt, Unavailable("gone")) for _ in range(50)}
    least = min(0.5 * 2 ** (attempt - 1), 4)
    assert len(waits) > 1
    assert all(least <= wait <= least + 0.5 for wait in waits)


def test_the_servers_delay_is_honoured():
    policy = RetryPolicy(attempts=2, first_wait=0.01, longest_wait=5)
    assert policy.wait_after(1, Overloaded("full", retry_after=3)) >= 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1001},
        {"first_wait": 0},
        {"first_wait": 9, "longest_wait": 8},
        {"longest_wait": float("inf")},
        {"longest_wait": float("nan")},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        RetryPolicy(**wrong)


def test_no_wait_goes_beyond_the_callers_deadline():
    transport = Unsteady([Unavailable("gone")] * 100)
    patient = RetryPolicy(attempts=100, first_wait=30, longest_wait=30)
    began = time.monotonic()

    with pytest.raises(Unavailable):
        Client(transport, retries=patient, timeout=20).explain(b"png", **ASK)

    assert time.monotonic() - began < 20
    assert transport.calls == 1


def test_within_the_callers_deadline_there_are_several_attempts():
    transport = Unsteady([Unavailable("gone")] * 100)
    patient = RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.02)

    with pytest.raises(Unavailable):
        Client(transport, retries=patient, timeout=60).explain(b"png", **ASK)

    assert transport.calls == 4


def test_each_attempt_has_what_is_left_of_the_callers_time():
    transport = Unsteady([Unavailable("gone"), Unavailable("gone"), None])
    policy = RetryPolicy(attempts=3, first_wait=0.1)

    Client(transport, retries=policy).models(timeout=5)

    assert sorted(transport.timeouts, reverse=True) == transport.timeouts
    assert transport.timeouts[-1] < 4.9


def test_a_clock_that_is_stepped_changes_no_deadline(monkeypatch):
    transport = Unsteady([Unavailable("gone"), None])
    monkeypatch.setattr(time, "time", lambda: 0.0)

    Client(transport, retries=QUICK, timeout=50).models()

    assert transport.timeouts[-1] == pytest.approx(50, abs=20)


def test_closing_the_client_ends_a_wait():
    transport = Unsteady([Unavailable("gone"), Cancelled("the client was closed")])
    client = Client(transport, retries=RetryPolicy(first_wait=30, longest_wait=30), timeout=600)
    threading.Timer(0.1, client.close).start()
    began = time.monotonic()

    with pytest.raises(Cancelled):
        client.models()

    assert time.monotonic() - began < 5


def test_closing_a_stream_that_was_begun_anew_closes_its_answer():
    transport = Unsteady([Unavailable("gone"), None], told=1)
    stream = Client(transport, retries=QUICK).stream(b"png", **ASK)
    assert [type(next(stream)) for _ in range(3)] == [Started, Restarted, Started]

    stream.close()

    assert transport.closed_early == 1
    assert transport.calls == 2


def test_a_stranger_to_our_family_is_not_asked_again():
    transport = Unsteady([RuntimeError("a fault of the client's own"), None])

    with pytest.raises(RuntimeError):
        Client(transport, retries=QUICK).models()
    assert transport.calls == 1


def test_the_asynchronous_client_does_the_same():
    async def ask():
        gone = Unavailable("gone")
        client = AsyncClient(AsyncUnsteady([gone, gone, None]), retries=QUICK)
        assert (await client.models())[0].name == "lite0"
        broken = AsyncUnsteady([gone, None], told=3)
        events = [e async for e in AsyncClient(broken, retries=QUICK).stream(b"png", **ASK)]
        assert [type(event) for event in events[2:5]][1:] == [Restarted, Started]
        whole = AsyncUnsteady([gone, None], told=3)
        assert len((await AsyncClient(whole, retries=QUICK).explain(b"png", **ASK)).maps) == 1
        lost = AsyncUnsteady([NotFound("no"), None])
        with pytest.raises(NotFound):
            await AsyncClient(lost, retries=QUICK).describe("lite0")
        assert lost.inner.calls == 1
        with pytest.raises(ServerFailed):
            await AsyncClient(AsyncUnsteady([ServerFailed("x")]), retries=QUICK).models()

    asyncio.run(ask())


def test_an_asynchronous_wait_ends_with_the_client_its_task_and_its_deadline():
    async def ask():
        policy = RetryPolicy(first_wait=30, longest_wait=30)
        faults = [Unavailable("gone"), Cancelled("the client was closed")]
        client = AsyncClient(AsyncUnsteady(faults), retries=policy, timeout=600)
        asyncio.get_running_loop().call_later(0.05, client._calls.close)
        with pytest.raises(Cancelled):
            await client.models()
        client = AsyncClient(AsyncUnsteady(faults), retries=policy, timeout=600)
        task = asyncio.create_task(client.models())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        client = AsyncClient(AsyncUnsteady(faults), retries=policy, timeout=5)
        with pytest.raises(Unavailable):
            await client.models()
        stream = AsyncClient(AsyncUnsteady([None])).stream(b"png", **ASK)
        await anext(stream)
        await stream.aclose()

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began < 5


def test_a_deadline_that_passed_is_not_asked_again():
    with pytest.raises(DeadlineExceeded):
        Client(Unsteady([DeadlineExceeded("late"), None]), retries=QUICK).explain(b"png", **ASK)
