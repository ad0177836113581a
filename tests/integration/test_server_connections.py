"""What a connection may cost, and when it is closed: seen from the socket, and through a proxy."""

import asyncio
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_service.config import ServeConfig
from salience_service.config.connections import ConnectionsConfig
from salience_service.rpc.server import options
from salience_service.rpc.server.server import Server
from tests.support.identity import Authority
from tests.support.raw_connection import (
    ACKNOWLEDGED,
    GOAWAY,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PING,
    SETTINGS,
    RawConnection,
    Swallower,
    raw_connection,
    swallower,
)
from tests.support.serving import FakeEngine, calling, calling_over, held, patient, request, serving
from tests.support.waiting import SOON_SECONDS

FEW = 8
"""Connections, where a test holds all that there may be."""
BY_DEFAULT = ConnectionsConfig()
"""When the server would have acted had it not heeded what a test states."""


def _settings(address: str) -> dict[int, int]:
    with raw_connection(address) as connection:
        connection.begin()
        stated = next(frame for frame in connection.frames() if frame.kind == SETTINGS)
        assert not stated.flags & ACKNOWLEDGED
        return stated.settings()


def test_a_connection_is_told_how_many_calls_and_how_much_metadata_it_may_send() -> None:
    stated = {"max_streams": 7, "max_metadata_bytes": 20_000}
    with serving(FakeEngine(), connections=stated) as server:
        settings = _settings(server.address)
    assert settings[MAX_CONCURRENT_STREAMS] == 7
    assert settings[MAX_HEADER_LIST_SIZE] == 20_000


def test_by_default_streams_and_metadata_are_bounded() -> None:
    stated = ServeConfig().connections
    with serving(FakeEngine()) as server:
        settings = _settings(server.address)
    assert settings[MAX_CONCURRENT_STREAMS] == stated.max_streams == 256
    assert settings[MAX_HEADER_LIST_SIZE] == stated.max_metadata_bytes == 16_384


def test_calls_beyond_the_streams_of_a_connection_wait_for_their_turn() -> None:
    engine = FakeEngine({"slow": patient})
    with serving(engine, connections={"max_streams": 1}) as server, calling(server) as stub:
        first = stub.Explain(request("slow"))
        next(first)
        second = stub.ListModels.future(pb.ListModelsRequest())
        with pytest.raises(grpc.FutureTimeoutError):
            second.result(timeout=0.2)
        first.cancel()
        assert len(second.result(timeout=SOON_SECONDS).models) == 1


def test_more_metadata_than_the_limit_is_refused_and_the_server_goes_on() -> None:
    stated = {"max_metadata_bytes": 9000}
    with serving(FakeEngine(), connections=stated) as server, calling(server) as stub:
        for _ in range(20):  # Between two limits gRPC would refuse at random.
            with pytest.raises(grpc.RpcError) as told:
                list(stub.Explain(request(), metadata=[("x-token", "t" * 9500)]))
            assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(list(stub.Explain(request(), metadata=[("x-token", "t" * 8192)]))) == 4


def _is_held(connection: RawConnection) -> bool:
    """Whether the server speaks to it, and does not close it at once."""
    with suppress(ConnectionError):
        connection.begin()
        return any(frame.kind == SETTINGS for frame in connection.frames())
    return False


def _held(address: str, number: int) -> int:
    """Of so many connections opened one after the other, how many are held at a time."""
    with ExitStack() as stack:
        opened = [stack.enter_context(raw_connection(address)) for _ in range(number)]
        return sum(map(_is_held, opened))


def test_connections_beyond_the_most_are_closed_at_once_and_those_before_stay() -> None:
    engine = FakeEngine({"slow": patient})
    with serving(engine, connections={"max_connections": FEW}) as server, calling(server) as stub:
        running = stub.Explain(request("slow"))
        next(running)
        assert _held(server.address, 3 * FEW) == FEW - 1
        assert next(running).HasField("progress")
        running.cancel()


def test_a_known_caller_is_answered_again_once_strangers_are_cut_off() -> None:
    stated = {"max_connections": FEW, "handshake_seconds": 4}
    with serving(FakeEngine(), connections=stated) as server, ExitStack() as stack:
        silent = [
            stack.enter_context(raw_connection(server.address, SOON_SECONDS)) for _ in range(FEW)
        ]
        with calling(server) as stub, pytest.raises(grpc.RpcError) as told:
            list(stub.Explain(request()))
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        for each in silent:
            list(each.frames())  # Ends when the server closes.
        with calling(server) as stub:
            assert len(list(stub.Explain(request(), wait_for_ready=True))) == 4


def _leaves(address: tuple[str, int], trusted: ssl.SSLContext) -> None:
    socket.create_connection(address).close()


def _speaks_nonsense(address: tuple[str, int], trusted: ssl.SSLContext) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.recv(1)


def _trusts_nobody(address: tuple[str, int], trusted: ssl.SSLContext) -> None:
    with socket.create_connection(address) as connection, suppress(ssl.SSLError):
        ssl.create_default_context().wrap_socket(connection, server_hostname=address[0])


def _leaves_after_the_handshake(address: tuple[str, int], trusted: ssl.SSLContext) -> None:
    with socket.create_connection(address) as connection:
        trusted.wrap_socket(connection, server_hostname=address[0]).close()


@pytest.mark.parametrize(
    "end", [_leaves, _speaks_nonsense, _trusts_nobody, _leaves_after_the_handshake]
)
def test_a_place_is_given_back_however_its_connection_ends(
    end: Callable[[tuple[str, int], ssl.SSLContext], None], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    trusted = ssl.create_default_context(cafile=str(authority.file))
    trusted.set_alpn_protocols(["h2"])
    stated = {"tls": authority.tls_section(), "connections": {"max_connections": FEW}}
    with serving(FakeEngine(), **stated) as server:
        host, _, port = server.address.rpartition(":")
        ended = 0
        for _ in range(5 * FEW):
            with suppress(OSError):  # The one before may not be seen to have gone yet.
                end((host, int(port)), trusted)
                ended += 1
        assert ended >= FEW
        _answered_often(server, authority)


def _answered_often(server: Server, authority: Authority) -> None:
    """More often than there are places, each time on a connection of its own."""
    for _ in range(2 * FEW):
        with calling_over(server, authority.client()) as stub:
            answers = stub.Explain(request(), wait_for_ready=True, timeout=SOON_SECONDS)
            assert len(list(answers)) == 4


def test_who_connects_and_says_nothing_is_cut_off() -> None:
    with (
        serving(FakeEngine(), connections={"handshake_seconds": 0.3}) as server,
        raw_connection(server.address, BY_DEFAULT.handshake_seconds) as silent,
    ):
        list(silent.frames())  # Ends when the server closes; else TimeoutError.


def test_a_connection_without_calls_is_closed_when_idle_and_its_client_connects_anew() -> None:
    with serving(FakeEngine(), connections={"idle_seconds": 1}) as server:
        with raw_connection(server.address, SOON_SECONDS) as idle:
            idle.begin()
            assert any(frame.kind == GOAWAY for frame in idle.frames())
        with calling(server) as stub:
            assert len(list(stub.Explain(request()))) == 4
            stub.Explain(request())


def test_a_client_may_ping_as_often_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "LEAST_PING_SECONDS", 0.1)
    with (
        serving(FakeEngine()) as server,
        raw_connection(server.address, SOON_SECONDS) as connection,
    ):
        connection.begin()
        for _ in range(6):
            connection.ping()
            time.sleep(0.2)
        told = (frame.kind for frame in connection.frames() if frame.kind in (PING, GOAWAY))
        assert list(itertools.islice(told, 6)) == 6 * [PING]


def test_a_client_that_pings_more_often_is_cut_off() -> None:
    with (
        serving(FakeEngine()) as server,
        raw_connection(server.address, SOON_SECONDS) as connection,
    ):
        connection.begin()
        connection.ping(6)
        assert any(frame.kind == GOAWAY for frame in connection.frames())


async def _left(channel: grpc.aio.Channel) -> None:
    """Returns when the channel's connection takes no more calls.

    On asyncio, for there a channel is watched by who awaits it: a watch of the blocking channel
    is a thread of gRPC's that fails when the channel is closed before it looks again.
    """
    await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


def test_a_long_answer_outlives_the_age_of_its_connection_and_new_calls_go_elsewhere() -> None:
    may_end = threading.Event()

    async def ask(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = pb_grpc.ExplanationServiceStub(channel)
            long = aiter(stub.Explain(request()))
            assert (await anext(long)).HasField("started")
            await asyncio.wait_for(_left(channel), SOON_SECONDS)
            assert len((await stub.ListModels(pb.ListModelsRequest())).models) == 1
            may_end.set()
            assert [each.WhichOneof("event") async for each in long] == ["finished"]

    stated = {"age_seconds": 1, "age_grace_seconds": 60}
    with serving(FakeEngine({"tiny": held(may_end)}), connections=stated) as server:
        asyncio.run(ask(server.address))


def test_an_answer_that_takes_longer_than_the_grace_is_ended() -> None:
    engine = FakeEngine({"tiny": patient})
    stated = {"age_seconds": 1, "age_grace_seconds": 0.2}
    with serving(engine, connections=stated) as server, calling(server) as stub:
        with pytest.raises(grpc.RpcError) as told:
            list(stub.Explain(request(), timeout=SOON_SECONDS))
        assert told.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        assert engine.ended.acquire(timeout=SOON_SECONDS)


@contextmanager
def _through_a_proxy(
    engine: FakeEngine,
) -> Iterator[tuple[Swallower, pb_grpc.ExplanationServiceStub]]:
    """A proxy to a server of impatient keepalive, and a stub on a connection through it."""
    stated = {"keepalive_seconds": 1, "keepalive_timeout_seconds": 2}
    with (
        serving(engine, connections=stated) as server,
        swallower(server.address) as proxy,
        grpc.insecure_channel(proxy.address) as channel,
    ):
        yield proxy, pb_grpc.ExplanationServiceStub(channel)


def test_a_caller_behind_a_dead_line_is_found_and_its_explanation_ends() -> None:
    engine = FakeEngine({"tiny": patient})
    with _through_a_proxy(engine) as (proxy, stub):
        call = stub.Explain(request())
        next(call)
        proxy.swallow()
        late = BY_DEFAULT.keepalive_seconds + BY_DEFAULT.keepalive_timeout_seconds
        assert engine.ended.acquire(timeout=late), "the half-open call runs for ever"
        call.cancel()


def test_a_caller_on_a_living_line_is_left_alone() -> None:
    """As above, but nothing is swallowed: it goes on when the keepalive's time is long over."""
    engine = FakeEngine({"tiny": patient})
    with _through_a_proxy(engine) as (_, stub):
        call = stub.Explain(request())
        for _ in itertools.islice(call, 450):  # 4.5 s of progress, one each 10 ms.
            pass
        assert not engine.ended.acquire(blocking=False)
        call.cancel()
