"""The exchange of a call: its messages and its answer's, whatever kind it is, one by one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from salience_service.errors import DeadlineExceeded, InvalidRequest, Unsupported


@dataclass(frozen=True)
class Patience:
    """Seconds that the message of a call may take to arrive, and one of its answer to be read.

    None = any time.
    """

    sender: float | None
    reader: float | None


ENDLESS = Patience(None, None)


async def answered(
    handler: Any,
    context: Any,
    greeting: Awaitable[None],
    patience: Patience,
    read: Callable[[], Awaitable[Any]] | None = None,
    judge: Callable[[], None] = lambda: None,
) -> None:
    """Runs a handler of any kind on a stream of bytes.

    `read`: gives the next message, the context's own by default. `judge`: asked again once a
    message has come, for until then what the call shows may have ended or been withdrawn.
    """
    if handler is None:
        raise Unsupported("there is no such call here")
    requests = _Requests(read or context.read, handler.request_deserializer, judge)
    request = requests if handler.request_streaming else await requests.only(patience.sender)
    await greeting
    response = _behaviour(handler)(request, context)
    del request  # An answer that is not read would keep what was asked, too.
    if hasattr(response, "__aiter__"):
        async with aclosing(response):
            async for message in response:
                await _say(message, context, patience)
    elif handler.response_streaming:
        await response
    else:
        await _say(await response, context, patience)


async def _say(message: Any, context: Any, patience: Patience) -> None:
    """Sends a message; those of explanations have their `Outlet`.

    Raises:
        DeadlineExceeded: it was not read in time.
    """
    try:
        async with asyncio.timeout(patience.reader):
            await context.write(message)
    except TimeoutError as late:
        raise DeadlineExceeded(
            f"the answer was not read within {patience.reader:g} s, the limit"
        ) from late


class _Requests:
    """The messages of a call, decoded when they are asked for.

    Args:
        read: gives the next, or EOF.
        decode: the handler's own, or None where it takes bytes.
        judge: asked of each message before it is decoded; what it raises ends the call.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Any]],
        decode: Callable[[bytes], Any] | None,
        judge: Callable[[], None],
    ) -> None:
        self._read, self._decode, self._judge = read, decode, judge

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> Any:
        # Not gRPC's iterator: a call that ends early leaves that one to the garbage collector.
        data = await self._read()
        if data is grpc.aio.EOF:  # type: ignore[attr-defined]
            raise StopAsyncIteration
        self._judge()
        try:
            return data if self._decode is None else self._decode(data)
        except DecodeError as fault:
            raise InvalidRequest(
                f"{len(data)} bytes cannot be read as a message of this call: they are damaged, a "
                "text in them is not UTF-8, or they follow another contract"
            ) from fault

    async def only(self, patience: float | None) -> Any:
        """The message of a unary call.

        Raises:
            InvalidRequest: there is none, or none that can be read.
            DeadlineExceeded: it did not arrive in `patience` seconds.
        """
        try:
            async with asyncio.timeout(patience):
                return await anext(self)
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"the message of the call did not arrive within {patience:g} s, the limit"
            ) from late
        except StopAsyncIteration:
            raise InvalidRequest("the call ended without a message: send one") from None


def _behaviour(handler: Any) -> Callable[..., Any]:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    behaviour: Callable[..., Any] = next(kind for kind in kinds if kind is not None)
    return behaviour
