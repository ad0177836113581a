"""Many explanations over calls that break: nothing lost, nothing doubled, nothing read twice."""

import asyncio
import itertools
import queue
import re
import threading
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salience.v1 import explanation_service_pb2 as pb
from salience_client import (
    AsyncClient,
    BrokenAnswer,
    Client,
    Event,
    Failed,
    Finished,
    InvalidRequest,
    NotFound,
    Overloaded,
    Restarted,
    RetryPolicy,
    ServerFailed,
    Started,
    Unauthenticated,
    Unavailable,
    explain_request,
)
from salience_client.many import MAX_TAG, MOST_BREAKS, WINDOW, Conversation
from salience_service.rpc.wire.wording import MAX_NAME
from tests.support import fake_answers as fake
from tests.support.breaking_calls import EVENTS, AsyncBreakingCalls, BreakingCalls
from tests.support.waiting import until

QUICK = RetryPolicy(attempts=6, first_wait=0.001, longest_wait=0.002)
GONE = Unavailable("killed")
Tagged = tuple[str, Event | Failed]


def request():
    return explain_request(b"png", model="lite0", methods="score-cam")


class Once:
    """An iterable of requests that counts how often each is read, and bears one reader alone."""

    def __init__(self, tags: Iterable[str]) -> None:
        self.tags = list(tags)
        self.read: list[str] = []
        self.iterated = 0

    def __iter__(self):
        self.iterated += 1
        for tag in self.tags:
            self.read.append(tag)
            yield tag, request()


def whole(events: list[Tagged]) -> dict[str, list[str]]:
    """What each tag was told, without what a restart made void."""
    told: dict[str, list[str]] = {}
    for tag, event in events:
        if isinstance(event, Restarted):
            assert told[tag], "nothing was told that could be void"
            assert told[tag][-1] not in ("Finished", "Failed"), "an answer was void"
            told[tag] = []
        else:
            told.setdefault(tag, []).append(type(event).__name__)
    return told


ANSWER = ["Started", "Prediction", "Progress", "PartialMap", "SaliencyMap", "Scores", "Finished"]


@settings(max_examples=150)
@given(
    count=st.integers(1, 40),
    window=st.integers(1, 8),
    breaks=st.lists(st.one_of(st.integers(0, 60)), max_size=3),
)
def test_wherever_calls_break_each_request_is_answered_once_and_read_once(count, window, breaks):
    requests = Once(f"t{number}" for number in range(count))
    transport = BreakingCalls([*breaks, None], GONE, window)

    events = list(Client(transport, retries=QUICK).explain_many(requests))

    assert whole(events) == dict.fromkeys(requests.tags, ANSWER)
    assert (requests.iterated, requests.read) == (1, requests.tags)


@settings(max_examples=50)
@given(count=st.integers(1, 40), breaks=st.lists(st.integers(0, 60), max_size=3))
def test_on_asyncio_too(count, breaks):
    requests = Once(f"t{number}" for number in range(count))
    transport = AsyncBreakingCalls(BreakingCalls([*breaks, None], GONE))

    async def ask():
        client = AsyncClient(transport, retries=QUICK)
        return [tagged async for tagged in client.explain_many(requests)]

    assert whole(asyncio.run(ask())) == dict.fromkeys(requests.tags, ANSWER)
    assert requests.read == requests.tags


def test_what_was_answered_is_not_asked_again():
    transport = BreakingCalls([EVENTS * 2 + 3], GONE, window=1)

    events = list(Client(transport, retries=QUICK).explain_many(Once("abcde")))

    assert transport.sent[0][:3] == ["a", "b", "c"]
    assert transport.sent[1] == ["c", "d", "e"]
    assert [(tag, event) for tag, event in events if isinstance(event, Restarted)] == [
        ("c", Restarted(GONE))
    ]


def test_attempts_are_counted_anew_once_something_was_answered():
    breaks = [EVENTS] * 20

    events = list(
        Client(BreakingCalls(breaks, GONE, 1), retries=QUICK).explain_many(
            Once(map(str, range(20)))
        )
    )

    assert sum(isinstance(event, Finished) for _, event in events) == 20


@pytest.mark.parametrize("blocking", [True, False])
def test_a_server_that_stays_away_once_all_is_answered_takes_nothing_away(blocking):
    transport = BreakingCalls([EVENTS * 3, *[0] * 100], GONE)

    events = _told(transport, Once("abc"), blocking)

    assert whole(events) == dict.fromkeys("abc", ANSWER)
    assert len(transport.sent) == 1


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("first", [EVENTS, EVENTS * 2 + 3])
def test_where_a_token_ends_the_rest_is_asked_on_another_call(first, blocking):
    ended = Unauthenticated("the token ended")
    transport = BreakingCalls([first, None], ended, window=1)

    assert whole(_told(transport, Once("abcde"), blocking)) == dict.fromkeys("abcde", ANSWER)
    assert len(transport.sent) == 2


@pytest.mark.parametrize("blocking", [True, False])
def test_a_call_that_is_turned_away_unanswered_is_the_last(blocking):
    ended = Unauthenticated("the token ended")
    transport = BreakingCalls([EVENTS, 0], ended, window=1)

    with pytest.raises(Unauthenticated):
        _told(transport, Once("abc"), blocking)
    assert len(transport.sent) == 2


def _told(transport: BreakingCalls, requests: Iterable, blocking: bool) -> list[Tagged]:
    """All that is told of these requests."""
    if blocking:
        return list(Client(transport, retries=QUICK).explain_many(requests))

    async def ask() -> list[Tagged]:
        client = AsyncClient(AsyncBreakingCalls(transport), retries=QUICK)
        return [tagged async for tagged in client.explain_many(requests)]

    return asyncio.run(ask())


def test_a_server_that_stays_away_is_given_up():
    transport = BreakingCalls([0] * 100, GONE)

    with pytest.raises(Unavailable):
        list(Client(transport, retries=QUICK).explain_many(Once("ab")))
    assert len(transport.sent) == QUICK.attempts


def test_a_request_that_ends_every_call_has_failed_and_the_others_go_on():
    class Poisoned(BreakingCalls):
        def _turn(self, request):
            yield from itertools.islice(super()._turn(request), EVENTS - 1)
            if request.tag == "poison":
                raise GONE
            yield from itertools.islice(super()._turn(request), EVENTS - 1, None)

    transport = Poisoned(window=2)
    requests = Once(["0", "poison", *map(str, range(1, 10))])

    events = list(Client(transport, retries=QUICK).explain_many(requests))

    assert whole_of(events, "poison")[-1] == Failed(GONE)
    assert sum(call.count("poison") for call in transport.sent) == MOST_BREAKS
    assert sum(isinstance(event, Finished) for _, event in events) == 10


class Bounded(BreakingCalls):
    """A server that takes messages of so many bytes, whose gRPC ends the call at a longer one."""

    most = 200

    def _turn(self, request):
        length = request.ByteSize()
        if length > self.most:
            raise too_long(length, self.most)
        return super()._turn(request)


def too_long(length: int, most: int) -> Overloaded:
    return Overloaded(f"SERVER: Received message larger than max ({length} vs. {most})")


def long_request():
    return explain_request(bytes(Bounded.most), model="lite0", methods="score-cam")


@pytest.mark.parametrize("blocking", [True, False])
def test_requests_that_are_too_long_fail_alone_and_the_others_go_on(blocking):
    requests = [(str(n), long_request() if n % 7 == 5 else request()) for n in range(3 * WINDOW)]
    transport = Bounded()

    events = _told(transport, requests, blocking)

    failed = {tag: event.error for tag, event in events if isinstance(event, Failed)}
    assert list(failed) == [tag for tag, _ in requests[5::7]]
    assert all("larger than max" in error.message for error in failed.values())
    others = {tag: ANSWER for tag, _ in requests if tag not in failed}
    assert whole(events) == others | {tag: ["Failed"] for tag in failed}
    assert len(transport.sent) <= 1 + len(failed)


def test_what_is_answered_beside_requests_that_are_too_long_bears_any_number_of_them():
    conversation = Conversation(QUICK)
    conversation.enter("a", request())
    for number in range(2 * MOST_BREAKS):
        conversation.enter(str(number), long_request())
        sent = [conversation.take(0.0) for _ in "ab"]
        list(conversation.read(pb.ExplainManyResponse(tag="a", response=fake.started()), 0.0))
        fault = too_long(sent[1].ByteSize(), Bounded.most)

        told = dict(conversation.fail_too_long(fault))

        assert told == {"a": Restarted(fault), str(number): Failed(fault)}
        assert list(conversation.begin_call(fault)) == []


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        Overloaded("Concurrent RPC limit exceeded!"),
        Overloaded("received metadata size exceeds hard limit (19000 vs. 16384)"),
        Overloaded("CLIENT: Received message larger than max (5000000 vs. 4194304)"),
    ],
)
def test_a_call_that_ends_over_no_one_request_is_the_last(fault, blocking):
    transport = BreakingCalls([3, None], fault)

    with pytest.raises(Overloaded, match=re.escape(fault.message)):
        _told(transport, Once("abc"), blocking)
    assert len(transport.sent) == 1


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("tag", ["", "x" * (MAX_TAG + 1)])
def test_a_tag_that_the_server_would_not_take_is_refused(tag, blocking):
    transport = BreakingCalls()

    with pytest.raises(InvalidRequest, match=f"has {len(tag)} characters: give 1 to 128"):
        _told(transport, Once(["a", tag]), blocking)
    assert transport.sent == [["a"]]


def test_the_longest_tag_is_that_of_the_server():
    assert MAX_TAG == MAX_NAME
    assert whole(_told(BreakingCalls(), Once(["x" * MAX_TAG]), blocking=True))


def whole_of(events: list[Tagged], tag: str) -> list[Event | Failed]:
    return [event for name, event in events if name == tag]


@pytest.mark.parametrize("fault", [ServerFailed("broke"), InvalidRequest("no"), NotFound("no")])
def test_a_call_that_ends_for_good_is_not_made_again(fault):
    transport = BreakingCalls([3, None], fault)

    with pytest.raises(type(fault)):
        list(Client(transport, retries=QUICK).explain_many(Once("ab")))
    assert len(transport.sent) == 1


def test_one_of_many_that_is_refused_for_now_is_asked_again():
    refusals = {"b": [Overloaded("full", retry_after=0.01), GONE]}
    transport = BreakingCalls([None], refusals=refusals)

    events = list(Client(transport, retries=QUICK_ENOUGH).explain_many(Once("abc")))

    assert whole(events) == dict.fromkeys("abc", ANSWER)
    assert sum(call.count("b") for call in transport.sent) == 3


QUICK_ENOUGH = RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.05)


def test_nothing_more_is_asked_of_a_server_that_is_going():
    going = {tag: [Unavailable("draining", retry_after=0.001)] for tag in "bc"}
    transport = BreakingCalls([None], window=1, refusals=going)

    events = list(Client(transport, retries=QUICK).explain_many(Once("abcdef")))

    assert whole(events) == dict.fromkeys("abcdef", ANSWER)
    assert (len(transport.sent), transport.sent[0]) == (3, ["a", "b"])
    assert sum(map(len, transport.sent)) == 8


def test_one_of_many_that_is_refused_for_good_is_asked_once():
    transport = BreakingCalls([None], refusals={"b": [NotFound("no model"), NotFound("again")]})

    events = list(Client(transport, retries=QUICK).explain_many(Once("abc")))

    (failed,) = whole_of(events, "b")
    assert isinstance(failed, Failed)
    assert "no model" in str(failed.error)


def test_one_of_many_that_is_refused_too_often_fails_alone():
    full = [Overloaded("full", retry_after=0.001) for _ in range(9)]
    transport = BreakingCalls([None], refusals={"b": full})

    events = list(Client(transport, retries=QUICK).explain_many(Once("abc")))

    assert [type(event) for event in whole_of(events, "b")] == [Failed]
    assert len(full) == 9 - QUICK.attempts
    assert {tag for tag, event in events if isinstance(event, Finished)} == {"a", "c"}


def test_no_more_is_read_than_the_window_holds():
    requests = Once(str(number) for number in range(3 * WINDOW))
    stream = Client(BreakingCalls(window=1), retries=QUICK).explain_many(requests)

    next(stream)
    until(lambda: len(requests.read) >= WINDOW)
    time.sleep(0.05)

    assert len(requests.read) <= WINDOW + 1
    stream.close()


def test_whoever_makes_the_next_request_of_an_answer_is_not_waited_for():
    """A caller in a closed loop: a call breaks while the next request waits for its answer."""
    answered: queue.Queue[str] = queue.Queue()

    def requests():
        for number in range(5):
            yield str(number), request()
            assert answered.get(timeout=5) == str(number)

    events = []
    for tag, event in Client(BreakingCalls([3, 9], GONE, 1), retries=QUICK).explain_many(
        requests()
    ):
        events.append((tag, event))
        if isinstance(event, Finished):
            answered.put(tag)

    assert whole(events) == {str(number): ANSWER for number in range(5)}


def test_closing_ends_the_reading_of_requests_wherever_it_is():
    let_go = threading.Event()
    ended = threading.Event()

    def requests():
        try:
            yield "a", request()
            let_go.wait(5)
            yield "b", request()
            pytest.fail("read on after it was closed")
        finally:
            ended.set()

    stream = Client(BreakingCalls(window=1), retries=QUICK).explain_many(requests())
    assert isinstance(next(stream)[1], Started)
    stream.close()
    let_go.set()

    assert ended.wait(5)


def test_an_asynchronous_reading_of_requests_is_cancelled_with_its_call():
    ended = []

    async def requests():
        try:
            yield "a", request()
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def ask():
        client = AsyncClient(AsyncBreakingCalls(BreakingCalls()), retries=QUICK)
        stream = client.explain_many(requests())
        await anext(stream)
        await stream.aclose()

    asyncio.run(ask())
    assert ended == ["ended"]


def test_an_asynchronous_reading_that_waits_for_room_is_ended_too():
    ended = []

    async def requests():
        try:
            for number in range(3 * WINDOW):
                yield str(number), request()
        finally:
            ended.append("ended")

    async def ask():
        client = AsyncClient(AsyncBreakingCalls(BreakingCalls()), retries=QUICK)
        stream = client.explain_many(requests())
        await anext(stream)
        await stream.aclose()
        assert ended == ["ended"]

    asyncio.run(ask())


def test_an_asynchronous_reading_outlives_the_call_that_broke():
    async def requests():
        for number in range(6):
            await asyncio.sleep(0.002)
            yield str(number), request()

    async def ask():
        inner = BreakingCalls([3, 9, 11], GONE)
        client = AsyncClient(AsyncBreakingCalls(inner), retries=QUICK)
        return [tagged async for tagged in client.explain_many(requests())]

    assert whole(asyncio.run(ask())) == {str(number): ANSWER for number in range(6)}


@pytest.mark.parametrize("fault", [FileNotFoundError, SystemExit, KeyboardInterrupt])
def test_an_error_in_the_callers_requests_comes_after_the_answers_even_of_a_broken_call(fault):
    def requests():
        yield "a", request()
        yield "b", request()
        raise fault("cat.jpg")

    seen = []
    stream = Client(BreakingCalls([3], GONE), retries=QUICK).explain_many(requests())
    with pytest.raises(fault, match=r"cat\.jpg"):
        seen.extend(stream)
    assert whole(seen) == dict.fromkeys("ab", ANSWER)


def test_a_cancelled_task_that_asynchronous_requests_wait_for_is_told_like_any_error():
    seen: list[Tagged] = []

    async def requests():
        yield "a", request()
        waited_for = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(waited_for.cancel)
        await waited_for
        yield "b", request()

    async def all_of(stream):
        async for tagged in stream:
            seen.append(tagged)

    async def ask():
        client = AsyncClient(AsyncBreakingCalls(BreakingCalls()), retries=QUICK)
        with pytest.raises(asyncio.CancelledError):
            await all_of(client.explain_many(requests()))

    asyncio.run(asyncio.wait_for(ask(), 60))
    assert whole(seen) == {"a": ANSWER}


def test_a_call_that_ends_well_before_the_last_request_is_broken():
    class Short(BreakingCalls):
        def _answers(self, requests, sent):
            yield from self._turn(next(requests))

    told = threading.Event()

    def requests():
        yield "a", request()
        told.wait(30)
        yield "b", request()

    with pytest.raises(BrokenAnswer, match="no whole answer came for"):
        list(Client(Short(), retries=QUICK).explain_many(requests()))
    told.set()


def test_an_answer_to_what_was_not_sent_yet_is_broken():
    conversation = Conversation(QUICK)
    conversation.enter("a", request())
    finished = fake.finished(1)

    with pytest.raises(BrokenAnswer, match="'a', which is not in flight"):
        list(conversation.read(pb.ExplainManyResponse(tag="a", response=finished), 0.0))
    assert conversation.take(0.0).tag == "a"
    assert conversation.take(0.0) is None
