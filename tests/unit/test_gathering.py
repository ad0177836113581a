"""Events sent together: all of them in their order, in messages of a bounded length."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import map_pb2
from salience_service.errors import ComputeFailed
from salience_service.rpc.wire.gathering import MOST_BYTES, gathered, is_end
from tests.support import fake_answers as fake


def apart(messages: list[pb.ExplainResponse]) -> list[pb.ExplainResponse]:
    """The events in them."""
    return [event for message in messages for event in message.gathered.events]


def map_of(size: int) -> pb.ExplainResponse:
    return pb.ExplainResponse(map=map_pb2.SaliencyMap(data=bytes(size)))


def test_what_fits_goes_in_one_message_without_what_is_told_on_the_way() -> None:
    answer = fake.simple_answer()
    (message,) = gathered(answer)
    kinds = [event.WhichOneof("event") for event in message.gathered.events]
    assert kinds == ["started", "prediction", "map", "scores", "finished"]
    assert list(message.gathered.events) == [
        each for each in answer if not (each.HasField("progress") or each.HasField("partial_map"))
    ]


@pytest.mark.parametrize("size", [1, MOST_BYTES // 3, MOST_BYTES // 2, MOST_BYTES, 2 * MOST_BYTES])
def test_no_message_is_longer_than_the_limit_unless_it_holds_one_event(size: int) -> None:
    answer = [fake.started(), *(map_of(size) for _ in range(7)), fake.finished(1)]
    messages = list(gathered(answer))
    assert apart(messages) == answer
    lengths = [sum(event.ByteSize() for event in each.gathered.events) for each in messages]
    assert all(
        length <= MOST_BYTES or len(each.gathered.events) == 1
        for length, each in zip(lengths, messages, strict=True)
    )
    assert all(sum(pair) > MOST_BYTES for pair in pairwise(lengths)), (
        "two messages that would have been one"
    )


def test_what_came_before_a_failure_is_sent_before_it() -> None:
    def failing() -> Iterator[pb.ExplainResponse]:
        yield from (fake.started(), fake.prediction())
        raise ComputeFailed("the device")

    messages = gathered(failing())
    kinds = [event.WhichOneof("event") for event in next(messages).gathered.events]
    assert kinds == ["started", "prediction"]
    with pytest.raises(ComputeFailed):
        next(messages)


def test_a_failure_before_the_first_event_sends_nothing() -> None:
    def failing() -> Iterator[pb.ExplainResponse]:
        raise ComputeFailed("the device")
        yield

    with pytest.raises(ComputeFailed):
        next(gathered(failing()))


def test_of_nothing_there_is_no_message() -> None:
    assert not list(gathered([]))
    assert not list(gathered([fake.progress(0, 1), fake.partial_map()]))


def test_an_end_is_told_from_what_comes_before_it() -> None:
    *before, last = gathered([map_of(MOST_BYTES), map_of(MOST_BYTES), fake.finished(2)])
    assert [is_end(message) for message in (*before, last)] == [False, False, True]
    assert is_end(fake.finished(1))
    assert not is_end(fake.started())
