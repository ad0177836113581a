"""ExplainMany over a real loopback server: tags, backpressure, errors of one among others."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import NoReturn

import grpc
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience_service.access.principal import ANONYMOUS
from salience_service.rpc.calls.caller import enter
from salience_service.rpc.calls.explanations import Explanations
from salience_service.rpc.server.server import SERVICE
from salience_service.rpc.servicer import ExplanationServicer
from tests.support.serving import (
    FakeEngine,
    calling,
    endless,
    held,
    patient,
    plain,
    request,
    serving,
)
from tests.support.waiting import SOON_SECONDS, until

ALL = ["started", "progress", "map", "finished"]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]


def _tagged(tag: str, model: str = "tiny", gather: bool = False) -> pb.ExplainManyRequest:
    return pb.ExplainManyRequest(tag=tag, request=request(model, gather=gather))


def _by_tag(responses: list[pb.ExplainManyResponse]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for each in responses:
        kind = each.response.WhichOneof("event") if each.HasField("response") else "error"
        kinds.setdefault(each.tag, []).append(kind)
    return kinds


def _held(requests: "queue.Queue[pb.ExplainManyRequest | None]") -> Iterator[pb.ExplainManyRequest]:
    while (message := requests.get()) is not None:
        yield message


def test_every_request_gets_all_its_events_under_its_tag() -> None:
    with serving(FakeEngine()) as server, calling(server) as stub:
        responses = list(stub.ExplainMany(_tagged(f"image {n}") for n in range(30)))
    assert _by_tag(responses) == {f"image {n}": ALL for n in range(30)}


def test_an_answer_overtakes_a_slower_one() -> None:
    may_end = threading.Event()

    engine = FakeEngine({"tiny": plain, "slow": held(may_end)})
    with serving(engine) as server, calling(server) as stub:
        ends = []
        for each in stub.ExplainMany(iter([_tagged("first", "slow"), _tagged("second")])):
            if each.response.HasField("finished"):
                ends.append(each.tag)
                may_end.set()
    assert ends == ["second", "first"]


def test_a_bad_request_is_told_under_its_tag_and_the_others_go_on() -> None:
    bad = pb.ExplainManyRequest(tag="bad", request=request(methods=[]))
    lost = _tagged("lost", "no-such-model")
    bare = pb.ExplainManyRequest(tag="bare")
    with serving(FakeEngine()) as server, calling(server) as stub:
        sent = iter([_tagged("a"), bad, lost, bare, _tagged("b")])
        responses = list(stub.ExplainMany(sent))
    assert _by_tag(responses) == {
        "a": ALL, "b": ALL, "bad": ["error"], "lost": ["error"], "bare": ["error"]
    }  # fmt: skip
    codes = {each.tag: each.error.code for each in responses if each.HasField("error")}
    invalid, not_found = 3, 5
    assert codes == {"bad": invalid, "lost": not_found, "bare": invalid}


def test_a_tag_is_refused_while_it_is_in_flight_empty_or_too_long() -> None:
    requests: queue.Queue[pb.ExplainManyRequest | None] = queue.Queue()
    engine = FakeEngine({"tiny": plain, "slow": patient})
    with serving(engine) as server, calling(server) as stub:
        for tag in ("twice", "twice", "", "x" * 129):
            requests.put(_tagged(tag, "slow"))
        call = stub.ExplainMany(_held(requests))
        refused = []
        for each in call:
            if each.HasField("error"):
                refused.append((each.tag, each.error.code))
            if len(refused) == 3:
                call.cancel()
                break
        requests.put(None)
        assert sorted(refused) == [("", 3), ("twice", 3), ("x" * 129, 3)]


@pytest.mark.parametrize(("gather", "last"), [(False, "finished"), (True, "gathered")])
def test_a_tag_may_be_used_again_as_soon_as_its_answer_has_finished(
    gather: bool, last: str
) -> None:
    requests: queue.Queue[pb.ExplainManyRequest | None] = queue.Queue()
    with serving(FakeEngine()) as server, calling(server) as stub:
        requests.put(_tagged("same", gather=gather))
        finished = 0
        for each in stub.ExplainMany(_held(requests)):
            assert not each.HasField("error"), each.error.message
            if each.response.HasField(last):
                finished += 1
                requests.put(_tagged("same", gather=gather) if finished < 30 else None)
    assert finished == 30


def test_reading_stops_at_the_window_until_an_answer_is_complete() -> None:
    window, sent = 2, []
    engine = FakeEngine({"tiny": patient})

    def requests() -> Iterator[pb.ExplainManyRequest]:
        for number in range(64):
            sent.append(number)
            message = _tagged(str(number))
            message.request.image.encoded = bytes(2**20)
            yield message

    with serving(engine, max_in_flight_per_call=window) as server, calling(server) as stub:
        call = stub.ExplainMany(requests())
        next(call)
        until(lambda: len(engine.controls) == window)
        time.sleep(0.3)
        assert len(engine.controls) == window
        assert len(sent) < 64, "gRPC's own buffers aside, nothing was held back"
        call.cancel()
        assert all(engine.ended.acquire(timeout=SOON_SECONDS) for _ in range(window))


def test_cancelling_the_call_stops_all_its_explanations() -> None:
    engine = FakeEngine({"tiny": patient})
    with serving(engine) as server, calling(server) as stub:
        requests: queue.Queue[pb.ExplainManyRequest | None] = queue.Queue()
        for number in range(5):
            requests.put(_tagged(str(number)))
        call = stub.ExplainMany(_held(requests))
        started = 0
        while started < 5:
            started += next(call).response.HasField("started")
        call.cancel()
        requests.put(None)
        assert all(engine.ended.acquire(timeout=SOON_SECONDS) for _ in range(5))


def test_a_caller_who_goes_while_answers_wait_to_be_read_is_no_failure_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine({"tiny": endless})
    with serving(engine) as server, calling(server) as stub:
        call = stub.ExplainMany(_tagged(str(number)) for number in range(3))
        next(call)
        until(lambda: len(engine.controls) == 3)
        time.sleep(0.2)
        call.cancel()
        assert all(engine.ended.acquire(timeout=SOON_SECONDS) for _ in range(3))
    assert not caplog.records


def test_requests_beyond_the_servers_limit_are_refused_under_their_tags() -> None:
    engine = FakeEngine({"tiny": patient})
    requests: queue.Queue[pb.ExplainManyRequest | None] = queue.Queue()
    with serving(engine, max_explanations=1) as server, calling(server) as stub:
        requests.put(_tagged("runs"))
        call = stub.ExplainMany(_held(requests))
        next(call)
        requests.put(_tagged("too many"))
        refused = next(each for each in call if each.HasField("error"))
        call.cancel()
        requests.put(None)
    assert refused.tag == "too many"
    assert refused.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def test_bytes_that_are_no_message_are_told_and_the_others_go_on() -> None:
    messages = [b"\xff\xff", _tagged("whole").SerializeToString(), b"\x0a\x01\xff"]
    with serving(FakeEngine()) as server, grpc.insecure_channel(server.address) as channel:
        send = channel.stream_stream(
            f"/{SERVICE}/ExplainMany", response_deserializer=pb.ExplainManyResponse.FromString
        )
        responses = list(send(iter(messages)))
    assert _by_tag(responses) == {"": ["error", "error"], "whole": ALL}
    assert {each.error.code for each in responses if not each.tag} == {INVALID_ARGUMENT}


def test_a_failure_of_the_call_itself_tells_nothing_from_inside() -> None:
    class BrokenContext:
        told: grpc.Status

        def time_remaining(self) -> None:
            return None

        async def write(self, message: object) -> None:
            raise RuntimeError("secret")

        async def abort_with_status(self, status: grpc.Status) -> NoReturn:
            self.told = status
            raise grpc.aio.AbortError

    async def requests() -> AsyncIterator[pb.ExplainManyRequest]:
        yield _tagged("one")

    async def call() -> grpc.Status:
        enter(ANONYMOUS, "1")
        context, explanations = BrokenContext(), Explanations(FakeEngine(), 1)
        servicer = ExplanationServicer(FakeEngine(), explanations, 1)
        with pytest.raises(grpc.aio.AbortError):
            await servicer.ExplainMany(requests(), context)  # type: ignore[arg-type]
        await explanations.close()
        return context.told

    told = asyncio.run(call())
    assert told.code is grpc.StatusCode.INTERNAL
    assert "secret" not in told.details
    assert "Exception" not in told.details


def test_idle_calls_leave_room_for_other_callers() -> None:
    gate = threading.Event()

    def one_and_no_more() -> Iterator[pb.ExplainManyRequest]:
        yield _tagged("one")
        gate.wait(SOON_SECONDS)

    with serving(FakeEngine(), max_explanations=2) as server, calling(server) as stub:
        idle = [stub.ExplainMany(one_and_no_more()) for _ in range(2)]
        for call in idle:
            assert [next(call).tag for _ in ALL] == ["one"] * len(ALL)
        with pytest.raises(grpc.RpcError) as told:
            list(stub.ExplainMany(iter([])))
        assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "ExplainMany" in told.value.details()
        assert len(list(stub.Explain(request()))) == 4
        gate.set()
        assert [list(call) for call in idle] == [[], []]
        assert list(stub.ExplainMany(iter([]))) == []
