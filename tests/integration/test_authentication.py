"""The authentication interceptor around handlers of every kind, on a server of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from salience_service.access.gate import OpenGate, Shown
from salience_service.access.principal import Call, Permissions, Principal
from salience_service.errors import NotFound
from salience_service.rpc.calls.authentication import Authentication
from salience_service.rpc.calls.caller import current_caller

ALL = Principal("all", Permissions(("*",), ("*",), frozenset(Call)))
Context = grpc.aio.ServicerContext
Ask = Callable[[grpc.aio.Channel], Awaitable[object]]


async def _one(request: bytes, _: Context) -> bytes:
    return request + current_caller().name.encode()


async def _generating(request: bytes, _: Context) -> AsyncIterator[bytes]:
    for _ in range(2):
        yield request


async def _writing(request: bytes, context: Context) -> None:
    for _ in range(3):
        await context.write(request)


async def _joining(requests: AsyncIterator[bytes], _: Context) -> bytes:
    return b"+".join([request async for request in requests])


async def _echoing(requests: AsyncIterator[bytes], _: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _aborting(_: bytes, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.ABORTED, "by the handler")
    raise AssertionError


async def _missing(_: bytes, __: Context) -> bytes:
    raise NotFound("no such thing")


async def _failing(_: bytes, __: Context) -> bytes:
    raise RuntimeError("a secret of the server")


HANDLERS = {
    "One": grpc.unary_unary_rpc_method_handler(_one),
    "Generating": grpc.unary_stream_rpc_method_handler(_generating),
    "Writing": grpc.unary_stream_rpc_method_handler(_writing),
    "Joining": grpc.stream_unary_rpc_method_handler(_joining),
    "Echoing": grpc.stream_stream_rpc_method_handler(_echoing),
    "Aborting": grpc.unary_unary_rpc_method_handler(_aborting),
    "Missing": grpc.unary_unary_rpc_method_handler(_missing),
    "Failing": grpc.unary_unary_rpc_method_handler(_failing),
}


class BrokenGate:
    """Fails, where it should let in or refuse."""

    def caller(self, _: Shown) -> Principal:
        raise RuntimeError("a secret of the gate")


def _told(ask: Ask, gate: object = None) -> object:
    """What `ask` is told by a server whose gate lets everyone in as `ALL`."""

    async def run() -> object:
        authentication = Authentication(gate or OpenGate(ALL))  # type: ignore[arg-type]
        server = grpc.aio.server(interceptors=[authentication])
        service = grpc.method_handlers_generic_handler("t.T", HANDLERS)
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await ask(channel)
        finally:
            await server.stop(None)

    return asyncio.run(run())


def _refusal(rpc: str, gate: object = None) -> tuple[grpc.StatusCode, str]:
    async def ask(channel: grpc.aio.Channel) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await channel.unary_unary(f"/t.T/{rpc}")(b"a")
        return told.value.code(), told.value.details() or ""

    return _told(ask, gate)  # type: ignore[return-value]


def test_a_unary_call_is_answered_with_its_caller_known() -> None:
    assert _told(lambda channel: channel.unary_unary("/t.T/One")(b"a-")) == b"a-all"


@pytest.mark.parametrize(("rpc", "messages"), [("Generating", 2), ("Writing", 3)])
def test_a_streaming_answer_comes_whole_however_it_is_told(rpc: str, messages: int) -> None:
    async def ask(channel: grpc.aio.Channel) -> list[bytes]:
        return [each async for each in channel.unary_stream(f"/t.T/{rpc}")(b"a")]

    assert _told(ask) == [b"a"] * messages


def test_a_stream_of_requests_comes_whole_and_ends() -> None:
    parts = [b"a", b"", b"c"]
    assert _told(lambda channel: channel.stream_unary("/t.T/Joining")(iter(parts))) == b"a++c"
    assert _told(lambda channel: channel.stream_unary("/t.T/Joining")(iter([]))) == b""


def test_both_may_stream_at_a_time() -> None:
    async def ask(channel: grpc.aio.Channel) -> list[bytes]:
        call = channel.stream_stream("/t.T/Echoing")()
        heard = []
        for part in (b"a", b"b"):
            await call.write(part)
            heard.append(await call.read())  # Before the next is sent.
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
        return heard

    assert _told(ask) == [b"a", b"b"]


def test_a_unary_call_without_a_message_is_refused() -> None:
    async def ask(channel: grpc.aio.Channel) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await channel.stream_unary("/t.T/One")(iter([]))
        return told.value.code()

    assert _told(ask) is grpc.StatusCode.INVALID_ARGUMENT


def test_what_a_handler_tells_stays_as_it_is() -> None:
    assert _refusal("Aborting") == (grpc.StatusCode.ABORTED, "by the handler")
    assert _refusal("Missing") == (grpc.StatusCode.NOT_FOUND, "no such thing")


@pytest.mark.parametrize(("rpc", "gate"), [("Failing", None), ("One", BrokenGate())])
def test_a_failure_of_the_server_tells_nothing_of_itself(
    rpc: str, gate: object, caplog: pytest.LogCaptureFixture
) -> None:
    code, text = _refusal(rpc, gate)
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in text
    assert "RuntimeError" not in text
    assert "a secret of the" in caplog.text
