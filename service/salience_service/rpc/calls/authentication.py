"""The authentication interceptor: no message of a caller is read before the caller is known."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import grpc

from salience_service.access.gate import Gate, Shown
from salience_service.access.permits import permit_call
from salience_service.access.principal import NOBODY, Principal
from salience_service.access.turnstile import Turnstile
from salience_service.errors import Unauthenticated
from salience_service.rpc.calls.call import abort, heard
from salience_service.rpc.calls.caller import current_client, current_rpc, enter, request_id
from salience_service.rpc.calls.exchange import ENDLESS, Patience, answered
from salience_service.rpc.calls.open_calls import OpenCalls, shortened
from salience_service.rpc.calls.refusal import refusal
from salience_service.rpc.calls.rights import call_of, is_open
from salience_service.telemetry.witness import NOBODY as UNWITNESSED
from salience_service.telemetry.witness import Witness

REQUEST_ID = "x-request-id"
_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
Traced = Callable[[str, Any], AbstractContextManager[None]]
"""Of a call's path and context: what makes its span while a block lasts."""


def untraced(_: str, __: Any) -> AbstractContextManager[None]:
    """Makes none."""
    return nullcontext()


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
        patience: with messages of calls, and with readers of answers.
        open_calls: what calls are granted that are open to all; None = they may have any number.
        traced: makes the spans of calls that are let in. Of others there are none: a caller's
            trace is sampled at the caller's word.
    """

    def __init__(
        self,
        gate: Gate,
        witness: Witness = UNWITNESSED,
        calls: Turnstile | None = None,
        patience: Patience = ENDLESS,
        open_calls: OpenCalls | None = None,
        traced: Traced = untraced,
    ) -> None:
        self._gate, self._witness, self._calls = gate, witness, calls or Turnstile("calls")
        self._patience, self._patience_with_open = patience, shortened(patience)
        self._open_calls = open_calls or OpenCalls(Turnstile("health calls"))
        self._traced = traced

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
            with self._open_calls.entered(path, context) as read:
                await answered(handler, context, greeting, self._patience_with_open, read)
            return
        judge = partial(self._judge, handler, path, context)
        judge()
        # Whatever it comes to, and before its message is read.
        with self._traced(path, context), self._calls.entered(current_client()):
            await answered(handler, context, greeting, self._patience, judge=judge)

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
