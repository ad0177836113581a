"""The authentication interceptor: no message of a caller is read before the caller is known."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from salience_service.access.client import Client, address_of
from salience_service.access.gate import Gate, Shown
from salience_service.access.permits import permit_call
from salience_service.access.principal import ANONYMOUS, NOBODY, Principal
from salience_service.access.turnstile import Turnstile
from salience_service.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Unauthenticated,
    Unsupported,
)
from salience_service.rpc.calls.call import abort, heard
from salience_service.rpc.calls.caller import current_client, current_rpc, enter, request_id
from salience_service.rpc.calls.refusal import refusal
from salience_service.rpc.calls.rights import call_of, is_open
from salience_service.telemetry.witness import NOBODY as UNWITNESSED
from salience_service.telemetry.witness import Witness

REQUEST_ID = "x-request-id"
LONGEST_OPEN_MESSAGE = 4096
"""Bytes of a message that is decoded for strangers: a name and its head."""
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Authentication(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets calls pass whose caller is known and may make them; to be the first interceptor.

    The gate is asked where the handler runs, for only there does gRPC tell the certificate; and
    again of each message, for a call may stay open longer than what it shows holds.
    Every call, whatever its kind, is taken as a stream of bytes: gRPC reads the message of a
    unary call before its handler runs, a stream's when the handler asks for it. So of a caller
    that is refused nothing is read, let alone decoded; and as all calls are, RPCs that
    do not exist cannot be told from those that do.

    An error that comes here is told to the caller, and to the witness as a refusal. So whoever
    keeps a record of its own (explanations, predictions, actions) ends its call itself.

    Args:
        gate: says who calls.
        witness: is told of every call refused.
        calls: counts the calls of each caller; None = they may have any number.
        patience: seconds that the message of a call may take to arrive; None = any time.
        reader_patience: seconds that a message of an answer may take to be read; likewise.
        open_calls: counts the calls that are open to all, which strangers may make; None = any.
    """

    def __init__(
        self,
        gate: Gate,
        witness: Witness = UNWITNESSED,
        calls: Turnstile | None = None,
        patience: float | None = None,
        open_calls: Turnstile | None = None,
        reader_patience: float | None = None,
    ) -> None:
        self._gate, self._witness, self._calls = gate, witness, calls or Turnstile("calls")
        self._patience = Patience(patience, reader_patience)
        self._open_calls = open_calls or Turnstile("health calls")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, behind the gate."""
        handler = await continuation(details)
        # The path is the caller's own text where there is no such RPC: not for metrics.
        rpc = "" if handler is None else details.method
        enter(NOBODY, _id_of(details.invocation_metadata), rpc=rpc)

        async def answer(_: AsyncIterator[bytes], context: Any) -> None:
            # On its way while the caller's message is read; nothing may be said before it.
            greeting = asyncio.ensure_future(
                context.send_initial_metadata(((REQUEST_ID, request_id()),))
            )
            greeting.add_done_callback(heard)
            try:
                await self._answer(handler, details.method, context, greeting)
            except grpc.aio.BaseError:  # The end was told already, or nobody is there.
                raise
            except Exception as error:  # gRPC would tell the caller its text.
                self._witness.refused(refusal(error))
                await greeting
                await abort(context, error)
            finally:
                greeting.cancel()

        writer = None if handler is None else handler.response_serializer
        return grpc.stream_stream_rpc_method_handler(answer, None, writer)

    async def _answer(
        self, handler: Any, path: str, context: Any, greeting: Awaitable[None]
    ) -> None:
        if is_open(path):
            enter(self._recognised(context), request_id(), rpc=current_rpc())
            # By address, whoever it is: a watch stays open, and strangers have no other name.
            with self._open_calls.entered(Client(ANONYMOUS.name, address_of(context.peer()))):
                await _answered(handler, context, greeting, self._patience, LONGEST_OPEN_MESSAGE)
            return
        judge = partial(self._judge, handler, path, context)
        judge()
        # Whatever it comes to, and before its message is read.
        with self._calls.entered(current_client()):
            await _answered(handler, context, greeting, self._patience, judge=judge)

    def _judge(self, handler: Any, path: str, context: Any) -> None:
        """Says who calls, by what the call shows and what that is worth now.

        Raises:
            Unauthenticated: nobody, or nobody any more.
            PermissionDenied: they may not make this call.
        """
        caller = self._gate.caller(_shown(context))
        enter(caller, request_id(), context.peer(), current_rpc())
        if handler is not None:
            permit_call(caller, call_of(path))

    def _recognised(self, context: Any) -> Principal:
        """Who makes a call that is open to all."""
        try:
            return self._gate.caller(_shown(context))
        except Unauthenticated:
            return NOBODY


@dataclass(frozen=True)
class Patience:
    """Seconds that the message of a call may take to arrive, and one of its answer to be read.

    None = any time.
    """

    sender: float | None
    reader: float | None


async def _answered(
    handler: Any,
    context: Any,
    greeting: Awaitable[None],
    patience: Patience,
    longest: int | None = None,
    judge: Callable[[], None] = lambda: None,
) -> None:
    """Runs a handler of any kind on a stream of bytes.

    `longest`: of a message, in bytes. `judge`: asked again once a message has come, for until then
    what the call shows may have ended or been withdrawn.
    """
    if handler is None:
        raise Unsupported("there is no such call here")
    requests = _Requests(context, handler.request_deserializer, longest, judge)
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
        context: of the call.
        read: the handler's own reader, or None where it takes bytes.
        longest: bytes of a message, or None where the server's own limit is all.
        judge: asked of each message before it is decoded; what it raises ends the call.
    """

    def __init__(
        self,
        context: Any,
        read: Callable[[bytes], Any] | None,
        longest: int | None,
        judge: Callable[[], None],
    ) -> None:
        self._context, self._read, self._longest, self._judge = context, read, longest, judge

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> Any:
        # Not gRPC's iterator: a call that ends early leaves that one to the garbage collector.
        data = await self._context.read()
        if data is grpc.aio.EOF:  # type: ignore[attr-defined]
            raise StopAsyncIteration
        self._judge()
        if self._longest is not None and len(data) > self._longest:
            raise InvalidRequest(f"{len(data)} bytes: this call takes at most {self._longest}")
        try:
            return data if self._read is None else self._read(data)
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


def _shown(context: Any) -> Shown:
    metadata = context.invocation_metadata() or ()
    authorization = tuple(_text(value) for key, value in metadata if key == "authorization")
    certificates = context.auth_context().get("x509_pem_cert", ())
    return Shown(authorization, next(iter(certificates), None))


def _id_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The caller's id where it is a good one, so that logs of both can be laid side by side."""
    stated = [_text(value) for key, value in metadata or () if key == REQUEST_ID]
    if len(stated) == 1 and _GOOD_ID.fullmatch(stated[0]):
        return stated[0]
    return uuid.uuid4().hex


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
