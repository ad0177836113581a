"""Health for those whom nobody knows: no model's name, and no room but its own."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from salience_client.grpc_transport import SHARED_OUT
from salience_service.rpc.admin import server as admin_port
from salience_service.rpc.calls.open_calls import LONGEST_OPEN_MESSAGE, MOST_HALF_SENT_EACH
from salience_service.rpc.calls.rights import HEALTH, WATCH
from salience_service.rpc.server import options
from tests.support.every_rpc import call, every_rpc, silent_until
from tests.support.principals import Place
from tests.support.serving import FakeEngine, serving
from tests.support.waiting import SOON_SECONDS

NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
SERVING = health_pb2.HealthCheckResponse.SERVING


def _named(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


def test_health_tells_a_stranger_the_server_and_its_services(channels: list[grpc.Channel]) -> None:
    for channel in channels:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(_named("")).status == SERVING
        told = stub.List(health_pb2.HealthListRequest()).statuses
        assert told[""].status == SERVING
        for name in told:
            assert stub.Check(_named(name)).status == SERVING


def test_health_tells_a_stranger_no_models(channels: list[grpc.Channel]) -> None:
    stub = health_pb2_grpc.HealthStub(channels[0])
    assert not set(stub.List(health_pb2.HealthListRequest()).statuses) & {"lung-1", "retina"}
    texts = []
    for name in ("retina", "no-such-model"):
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(_named(name))
        texts.append((refused.value.code(), refused.value.details()))
        watch = stub.Watch(_named(name))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
    assert texts[0] == texts[1]
    assert texts[0][0] is NOT_FOUND


def test_health_tells_of_a_model_to_those_who_know_of_it(
    place: Place, channels: list[grpc.Channel]
) -> None:
    stub = health_pb2_grpc.HealthStub(channels[0])
    shown = place.shows("lungs")
    assert stub.Check(_named("lung-1"), metadata=shown).status == SERVING
    told = stub.List(health_pb2.HealthListRequest(), metadata=shown).statuses
    assert set(told) & {"lung-1", "lung-2", "retina"} == {"lung-1", "lung-2"}
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(_named("retina"), metadata=shown)
    assert refused.value.code() is NOT_FOUND


def test_health_decodes_nothing_large_for_strangers(channels: list[grpc.Channel]) -> None:
    answer = call(
        channels[0], "/grpc.health.v1.Health/Check", [], [bytes(LONGEST_OPEN_MESSAGE + 1)]
    )
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("port", "most"), [(0, options.MOST_OPEN_EACH), (1, admin_port.MOST_OPEN_EACH)]
)
def test_a_stranger_who_keeps_health_watches_open_takes_no_room_of_known_callers(
    place: Place, channels: list[grpc.Channel], port: int, most: int
) -> None:
    health = health_pb2_grpc.HealthStub(channels[port])
    watches = [health.Watch(_named("")) for _ in range(most)]
    assert {next(watch).status for watch in watches} == {SERVING}
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(_named(""))
    assert refused.value.code() is EXHAUSTED
    with pytest.raises(grpc.RpcError) as refused:
        next(health.Watch(_named("")))
    assert refused.value.code() is UNIMPLEMENTED
    assert "too many watches are open" in refused.value.details()
    assert len(every_rpc(channels[port], place.shows("all"))) > 1
    with grpc.insecure_channel(place.ports[port], options=SHARED_OUT) as watching:
        assert len(every_rpc(watching, place.shows("all"))) > 1
    for watch in watches:
        watch.cancel()


@contextmanager
def _half_sent(channel: grpc.Channel, path: str, number: int) -> Iterator["queue.Queue[grpc.Call]"]:
    """So many calls whose message does not come; gives each once it has ended."""
    ended: queue.Queue[grpc.Call] = queue.Queue()
    silent = threading.Event()
    calls = [channel.stream_stream(path)(silent_until(silent)) for _ in range(number)]
    for each in calls:
        each.add_done_callback(ended.put)
    try:
        yield ended
    finally:
        for each in calls:
            each.cancel()
        silent.set()


@pytest.mark.parametrize(
    ("port", "path", "code"), [(0, f"/{HEALTH}/Check", EXHAUSTED), (1, WATCH, UNIMPLEMENTED)]
)
def test_of_health_calls_whose_message_does_not_come_few_are_waited_for(
    channels: list[grpc.Channel], port: int, path: str, code: grpc.StatusCode
) -> None:
    """For gRPC may hold as much of each as of the longest message; one that is there is no such."""
    health = health_pb2_grpc.HealthStub(channels[port])
    with _half_sent(channels[port], path, MOST_HALF_SENT_EACH + 1) as ended:
        assert ended.get(timeout=SOON_SECONDS).code() is code
        assert health.Check(_named("")).status == SERVING
        assert next(health.Watch(_named(""))).status == SERVING


def test_health_calls_whose_message_does_not_come_are_waited_for_as_long_as_stated() -> None:
    with (
        serving(FakeEngine(), connections={"slow_sender_seconds": 0.4}) as server,
        grpc.insecure_channel(server.address) as channel,
        _half_sent(channel, WATCH, MOST_HALF_SENT_EACH) as ended,
    ):
        for _ in range(MOST_HALF_SENT_EACH):
            told = ended.get(timeout=SOON_SECONDS)
            assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "did not arrive within 0.4 s" in told.details()


def test_fewer_health_calls_than_are_spare_are_held() -> None:
    assert options.MOST_OPEN < options.SPARE_CALLS
    assert admin_port.MOST_OPEN < admin_port.MOST_CALLS
