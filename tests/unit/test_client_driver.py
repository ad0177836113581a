"""The client over a made-up transport: deadlines, closing, many requests, models."""

import asyncio
import math

import numpy as np
import pytest

from salience_client import (
    AsyncClient,
    BrokenAnswer,
    Client,
    Failed,
    Finished,
    InvalidRequest,
    NotFound,
    Started,
    Unavailable,
    explain_request,
)
from tests.support import fake_answers as fake

ASK = {"model": "lite0", "methods": "score-cam"}


class AsyncFake:
    """The made-up transport on asyncio: the same answers, awaited."""

    def __init__(self, answer):
        self.inner = fake.FakeTransport(answer)
        self.closed_early = 0

    async def explain(self, request, timeout):
        try:
            for message in self.inner.explain(request, timeout):
                yield message
        except GeneratorExit:
            self.closed_early += 1
            raise

    async def explain_many(self, requests, timeout):
        taken = [request async for request in requests]
        for message in self.inner.explain_many(taken, timeout):
            yield message

    async def list_models(self, request, timeout):
        return self.inner.list_models(request, timeout)

    async def describe_model(self, request, timeout):
        return self.inner.describe_model(request, timeout)

    async def close(self):
        self.inner.close()


def tagged(*tags, model="lite0"):
    return [(tag, explain_request(b"png", model=model, methods="score-cam")) for tag in tags]


def test_a_stream_gives_events_and_an_explanation_collects_them():
    client = Client(fake.FakeTransport(fake.simple_answer()))

    events = list(client.stream(b"png", **ASK))
    explanation = client.explain(b"png", **ASK)

    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    np.testing.assert_array_equal(explanation["score-cam"].array, fake.ramp())


def test_partial_maps_are_asked_for_by_stream_alone():
    transport = fake.FakeTransport(fake.simple_answer())
    client = Client(transport)

    list(client.stream(b"png", **ASK))
    client.explain(b"png", **ASK)
    client.explain(b"png", partial_maps=True, **ASK)

    assert [asked.no_partial_maps for asked in transport.asked] == [False, True, False]
    assert [asked.gather for asked in transport.asked] == [False, True, False]


def test_every_call_has_a_deadline_unless_it_is_told_otherwise():
    transport = fake.FakeTransport(fake.simple_answer())
    client = Client(transport)

    client.explain(b"png", **ASK)
    client.explain(b"png", timeout=150, **ASK)
    client.explain(b"png", timeout=math.inf, **ASK)
    Client(transport, timeout=250).models()
    Client(transport, timeout=math.inf).describe("lite0")

    assert transport.timeouts == pytest.approx([60, 150, None, 250, None], abs=20)


def test_a_deadline_beyond_grpcs_clock_is_none():
    transport = fake.FakeTransport(fake.simple_answer())
    client = Client(transport, timeout=1e10)
    client.models()
    client.explain(b"png", timeout=1e300, **ASK)
    list(client.explain_many([], timeout=1e10))

    assert transport.timeouts == [None, None, None]


def test_a_misspelt_option_is_refused_at_once_and_not_left_out():
    client = Client(fake.FakeTransport([]))

    with pytest.raises(InvalidRequest, match="use targets"):
        client.stream(b"png", target="effusion", **ASK)
    with pytest.raises(InvalidRequest, match="use targets"):
        AsyncClient(AsyncFake([])).stream(b"png", target="effusion", **ASK)


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_a_deadline_that_is_no_time_is_refused(timeout):
    with pytest.raises(InvalidRequest, match="give seconds above 0"):
        Client(fake.FakeTransport([])).models(timeout=timeout)


def test_what_cannot_be_said_is_refused_before_the_first_event_is_read():
    transport = fake.FakeTransport(fake.simple_answer())

    with pytest.raises(InvalidRequest):
        Client(transport).stream(b"png", encoding="jpeg", **ASK)
    assert transport.asked == []


def test_closing_a_stream_closes_the_answer_behind_it():
    transport = fake.FakeTransport(fake.simple_answer())
    stream = Client(transport).stream(b"png", **ASK)
    next(stream)

    stream.close()

    assert transport.closed_early == 1


def test_a_broken_answer_closes_the_call():
    transport = fake.FakeTransport([fake.finished(1), fake.started(), fake.started()])

    with pytest.raises(BrokenAnswer):
        list(Client(transport).stream(b"png", **ASK))
    assert transport.closed_early == 1


def test_an_error_in_the_middle_reaches_the_reader_after_the_events_before_it():
    answer = fake.simple_answer()[:3]
    transport = fake.FakeTransport(answer, Unavailable("gone"))
    stream = Client(transport, retries=None).stream(b"png", **ASK)

    assert len([next(stream) for _ in answer]) == 3
    with pytest.raises(Unavailable, match="gone"):
        next(stream)


def test_leaving_the_client_closes_its_transport():
    transport = fake.FakeTransport([])

    with Client(transport):
        assert not transport.closed
    assert transport.closed


def test_many_answers_come_tagged_and_interleaved():
    client = Client(fake.FakeTransport(fake.simple_answer()))

    events = list(client.explain_many(tagged("a", "b")))

    assert [tag for tag, _ in events[:4]] == ["a", "b", "a", "b"]
    assert sum(isinstance(event, Finished) for _, event in events) == 2


def test_one_of_many_that_fails_leaves_the_others_alone():
    client = Client(fake.FakeTransport(fake.simple_answer()))
    requests = [*tagged("a"), *tagged("b", model="lost"), *tagged("c")]

    events = list(client.explain_many(requests))

    (failed,) = [event for tag, event in events if tag == "b"]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, NotFound)
    assert {tag for tag, event in events if isinstance(event, Finished)} == {"a", "c"}


def test_a_tag_in_flight_cannot_be_used_again():
    client = Client(fake.FakeTransport(fake.simple_answer()))

    with pytest.raises(InvalidRequest, match="tag 'a' is in flight"):
        list(client.explain_many(tagged("a", "a")))


def test_an_error_in_the_callers_own_requests_comes_back_after_the_answers():
    def requests():
        yield from tagged("a")
        raise FileNotFoundError("cat.jpg")

    seen = []
    with pytest.raises(FileNotFoundError):
        seen.extend(Client(fake.FakeTransport(fake.simple_answer())).explain_many(requests()))


def test_one_of_many_without_a_whole_answer_is_an_error():
    client = Client(fake.FakeTransport(fake.simple_answer()[:-1]))

    with pytest.raises(BrokenAnswer, match="no whole answer came for a"):
        list(client.explain_many(tagged("a")))


def test_many_requests_have_no_deadline_unless_one_is_given():
    transport = fake.FakeTransport(fake.simple_answer())

    list(Client(transport).explain_many(tagged("a")))
    list(Client(transport).explain_many(tagged("a"), timeout=50))

    assert transport.timeouts == pytest.approx([None, 50], abs=20)


def test_models_are_listed_and_described():
    client = Client(fake.FakeTransport([]))

    (summary,) = client.models()
    model = client.describe("lite0")

    assert (summary.name, summary.is_default) == ("lite0", True)
    assert model.summary == summary
    assert (model.input.channels, model.input.resize, model.output) == (3, "short-side", "softmax")
    assert (model.labels, model.scores, model.gradient_sides) == (
        ("tabby", "tench"),
        ("ad",),
        ("torch",),
    )
    option = model.methods[0].options[0]
    assert (option.type, option.default, option.minimum, option.maximum) == ("integer", 0, 0, 64)
    assert [method.available for method in model.methods] == [True, True, False]
    assert [method.fails_sanity_checks for method in model.methods] == [False, True, False]
    assert [method.anytime for method in model.methods] == [True, False, False]
    assert (model.precision, model.tuning_digest) == ("float16", fake.DIGEST)


def test_the_asynchronous_client_gives_the_same():
    async def both():
        async with AsyncClient(AsyncFake(fake.simple_answer())) as client:
            streamed = [event async for event in client.stream(b"png", **ASK)]
            collected = await client.explain(b"png", **ASK)
            many = [tag async for tag, _ in client.explain_many(tagged("a", "b"))]
            return streamed, collected, many, await client.models(), await client.describe("lite0")

    streamed, collected, many, models, model = asyncio.run(both())

    assert len(streamed) == 7
    np.testing.assert_array_equal(collected["score-cam"].array, fake.ramp())
    assert many == ["a", "b"] * 7
    assert models == (model.summary,)


def test_closing_an_asynchronous_stream_closes_the_answer_behind_it():
    async def close_early():
        transport = AsyncFake(fake.simple_answer())
        stream = AsyncClient(transport).stream(b"png", **ASK)
        await anext(stream)
        await stream.aclose()
        return transport.closed_early

    assert asyncio.run(close_early()) == 1


def test_an_asynchronous_caller_may_make_its_requests_as_it_goes():
    async def requests():
        for request in tagged("a", "b"):
            await asyncio.sleep(0)
            yield request

    async def ask():
        client = AsyncClient(AsyncFake(fake.simple_answer()))
        return [tag async for tag, e in client.explain_many(requests()) if isinstance(e, Finished)]

    assert asyncio.run(ask()) == ["a", "b"]
