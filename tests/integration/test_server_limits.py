"""What one client may take of a server: explanations, calls, requests, rows, and time to read."""

import queue
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from salience.v1 import explanation_service_pb2 as pb
from salience_service.control import Control
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.rpc.calls.mailbox import CAPACITY
from salience_service.rpc.server.server import SERVICE
from tests.support.serving import (
    FINISHED,
    STARTED,
    FakeEngine,
    calling,
    finished_map,
    patient,
    plain,
    request,
    serving,
    until_answered,
)
from tests.support.waiting import SOON_SECONDS

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def refusal(call: grpc.Call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as told:
        list(call)
    return told.value


def retry_after(told: grpc.RpcError) -> float:
    """Seconds; fails where the refusal does not say."""
    for detail in rpc_status.from_call(told).details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    raise AssertionError("no RetryInfo")


def tagged(tag: str, model: str = "tiny") -> pb.ExplainManyRequest:
    return pb.ExplainManyRequest(tag=tag, request=request(model))


def test_one_client_may_not_run_all_explanations() -> None:
    engine = FakeEngine({"slow": patient, "tiny": plain})
    with serving(engine, max_running_per_client=2) as server, calling(server) as stub:
        running = [stub.Explain(request("slow")) for _ in range(2)]
        for call in running:
            next(call)
        told = refusal(stub.Explain(request()))
        assert (told.code(), retry_after(told)) == (EXHAUSTED, 1.0)
        assert "2 calls of anonymous are running, the limit for one client" in told.details()
        running[0].cancel()
        assert engine.ended.acquire(timeout=SOON_SECONDS)
        until_answered(stub)


def test_explanations_of_a_call_of_many_count_one_by_one() -> None:
    engine = FakeEngine({"slow": patient})
    with serving(engine, max_running_per_client=2) as server, calling(server) as stub:
        call = stub.ExplainMany(tagged(str(number), "slow") for number in range(3))
        told = next(each.error for each in call if each.HasField("error"))
        call.cancel()
    assert told.code == EXHAUSTED.value[0]
    assert "2 explanations of anonymous" in told.message


def test_the_end_is_told_when_all_that_it_took_is_given_back() -> None:
    """So that the next request of whoever may have one at a time finds room."""
    given_back = threading.Event()

    def slow_to_end(order: ExplainOrder, control: Control) -> Iterator[Event]:
        try:
            yield from plain(order, control)
        finally:
            time.sleep(0.2)
            given_back.set()

    engine = FakeEngine({"tiny": slow_to_end})
    with serving(engine, max_running_per_client=1, max_explanations=1) as server:
        told = queue.SimpleQueue[str | None]()
        told.put("first")
        requests = (tagged(tag) for tag in iter(told.get, None))
        with calling(server) as stub:
            for response in stub.ExplainMany(requests):
                assert response.WhichOneof("outcome") == "response", response.error.message
                if response.response.HasField("finished"):
                    assert given_back.is_set()
                    told.put("second" if response.tag == "first" else None)
    assert len(engine.controls) == 2


def test_calls_of_all_clients_are_bounded_and_refused_before_their_message_is_read() -> None:
    engine = FakeEngine({"slow": patient, "tiny": plain})
    stated = {"connections": {"max_calls": 1}, "max_message_bytes": 2**16}
    with serving(engine, **stated) as server, calling(server) as stub:
        running = stub.Explain(request("slow"))
        next(running)
        # Read, it would be refused for its length.
        told = refusal(stub.Explain(request(image={"encoded": bytes(2**20)})))
        assert (told.code(), retry_after(told)) == (EXHAUSTED, 1.0)
        assert "1 calls are running, the limit" in told.details()
        running.cancel()


def test_requests_beyond_a_quota_are_refused_with_when_to_come_again() -> None:
    quotas = {"requests_per_minute": 2}
    with serving(FakeEngine(), quotas=quotas) as server, calling(server) as stub:
        responses = list(stub.ExplainMany(tagged(tag) for tag in ("a", "b", "c")))
        refused = [each for each in responses if each.HasField("error")]
        assert [each.tag for each in refused] == ["c"]
        assert refused[0].error.reason == "QuotaExceeded"
        assert 15 < refused[0].error.retry_after_seconds <= 30
        told = refusal(stub.Explain(request()))
        assert told.code() is EXHAUSTED
        assert re.search("quota of 2 requests a minute; come again in [123][0-9] s", told.details())
        assert 15 < retry_after(told) <= 30
        assert len(stub.ListModels(pb.ListModelsRequest()).models) == 1


def test_rows_beyond_a_quota_are_refused_when_they_are_known() -> None:
    def of_60_rows(order: ExplainOrder, control: Control) -> Iterator[Event]:
        control.charge_rows(60)
        yield STARTED
        yield FINISHED

    engine = FakeEngine({"tiny": of_60_rows})
    with serving(engine, quotas={"rows_per_day": 100}) as server, calling(server) as stub:
        assert len(list(stub.Explain(request()))) == 2
        told = refusal(stub.Explain(request()))
    assert (told.code(), "quota of 100 rows a day" in told.details()) == (EXHAUSTED, True)
    assert 0.19 * 86_400 < retry_after(told) <= 0.2 * 86_400


def test_who_does_not_send_the_message_of_a_call_is_not_waited_for() -> None:
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(SOON_SECONDS)
        yield from ()

    stated = {"slow_sender_seconds": 0.3}
    with (
        serving(FakeEngine(), connections=stated, max_running_per_client=1) as server,
        grpc.insecure_channel(server.address) as channel,
        calling(server) as stub,
    ):
        told = refusal(channel.stream_stream(f"/{SERVICE}/Explain")(nothing()))
        never.set()
        assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not arrive within 0.3 s" in told.details()
        until_answered(stub)


def test_a_call_of_many_may_be_silent_between_its_messages() -> None:
    def two() -> Iterator[pb.ExplainManyRequest]:
        yield tagged("first")
        time.sleep(0.6)
        yield tagged("second")

    stated = {"slow_sender_seconds": 0.2}
    with serving(FakeEngine(), connections=stated) as server, calling(server) as stub:
        assert {each.tag for each in stub.ExplainMany(two())} == {"first", "second"}


@dataclass
class Endless:
    """A script that answers maps of a mebibyte for ever, and counts them."""

    made: list[int] = field(default_factory=list)
    full: threading.Event = field(default_factory=threading.Event)

    def __call__(self, order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        while True:
            self.made.append(1)
            yield finished_map(bytes(2**20))


IN_FLIGHT = 16
"""Messages at most beyond the mailbox: one waits for room there, one is being written, and the
client's own gRPC takes as many as it likes to hold; 5 were seen."""


def test_a_slow_reader_holds_a_few_messages_and_is_ended_in_time() -> None:
    script = Endless()
    engine = FakeEngine({"big": script, "tiny": plain})
    stated = {"slow_reader_seconds": 2}
    with serving(engine, connections=stated) as server, calling(server) as stub:
        began = time.monotonic()
        slow = stub.Explain(request("big"))
        assert engine.ended.acquire(timeout=SOON_SECONDS)
        assert time.monotonic() - began >= 2
        assert len(script.made) <= CAPACITY + IN_FLIGHT
        assert len(list(stub.Explain(request()))) == 4
        told = refusal(slow)  # Who reads at last, reads what was on its way, and why it ended.
    assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "not read within 2 s" in told.details()


def test_a_slow_reader_who_leaves_is_no_failure_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine({"big": Endless(), "tiny": plain})
    stated = {"slow_reader_seconds": 2}
    with serving(engine, connections=stated) as server:
        with calling(server) as stub:
            slow = stub.Explain(request("big"))
            assert engine.ended.acquire(timeout=SOON_SECONDS)
            slow.cancel()
        with calling(server) as stub:
            assert len(list(stub.Explain(request()))) == 4
    assert not caplog.records


def test_a_slow_reader_of_many_answers_is_ended_in_time_with_all_of_them() -> None:
    script = Endless()
    engine = FakeEngine({"big": script, "tiny": plain})
    stated = {"slow_reader_seconds": 2}
    with serving(engine, connections=stated) as server, calling(server) as stub:
        slow = stub.ExplainMany(iter([tagged(str(number), "big") for number in range(4)]))
        assert all(engine.ended.acquire(timeout=SOON_SECONDS) for _ in range(4))
        assert len(script.made) <= 4 * CAPACITY + 4 * IN_FLIGHT
        told = refusal(slow)
        assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(list(stub.Explain(request()))) == 4


def test_who_reads_one_message_after_the_other_may_take_as_long_as_it_likes() -> None:
    def ten(order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield STARTED
        for _ in range(10):
            yield finished_map(bytes(2**20))
        yield FINISHED

    stated = {"slow_reader_seconds": 2}
    with serving(FakeEngine({"tiny": ten}), connections=stated) as server, calling(server) as stub:
        read = 0
        for _ in stub.Explain(request()):
            time.sleep(0.2)
            read += 1
    assert read == 12
