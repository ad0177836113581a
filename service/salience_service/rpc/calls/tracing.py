"""A span for each call of ours, in the caller's trace; loaded only where spans are sent.

OpenTelemetry's own instrumentation of grpc.aio iterates over what a streaming handler
returns; ours write to their context, as gRPC lets them. It does not see
`abort_with_status` either, and notes texts of errors, which may quote a request.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from opentelemetry.context import Context as TraceContext
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from salience_service.rpc.calls.caller import request_id

_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""What OpenTelemetry's conventions for gRPC count as errors of a server."""
_PROPAGATOR = TraceContextTextMapPropagator()


class TraceCalls(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Makes the spans of calls; the first of the interceptors.

    Args:
        tracer: makes them.
        calls: SERVICE/METHOD of those that have one. Of what there is not, the name is a
            caller's own text.
    """

    def __init__(self, tracer: Tracer, calls: Iterable[str]) -> None:
        self._tracer = tracer
        self._calls = frozenset(calls)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """The call's handler inside of a span."""
        handler = await continuation(details)
        name = details.method.removeprefix("/")
        if handler is None or name not in self._calls:
            return handler
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        behaviour = getattr(handler, kind)
        if not inspect.iscoroutinefunction(behaviour):
            return handler
        return handler._replace(**{kind: self._traced(behaviour, name)})

    def _traced(
        self, behaviour: Callable[[Any, Any], Awaitable[Any]], name: str
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        async def traced(request: Any, context: Any) -> Any:
            with self._tracer.start_as_current_span(
                name,
                _parent(context),
                SpanKind.SERVER,
                {"rpc.system.name": "grpc", "rpc.method": name},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                span.set_attribute("salience.request_id", request_id())
                try:
                    answer = await behaviour(request, context)
                except BaseException as error:
                    _tell(span, _code(context, error))
                    raise
                _tell(span, _code(context, None))
                return answer

        return traced


def _parent(context: Any) -> TraceContext:
    """The caller's trace. Its `tracestate` is left out: it would carry a caller's text on."""
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str):
            return _PROPAGATOR.extract({"traceparent": value}, TraceContext())
    return TraceContext()


def _code(context: Any, error: BaseException | None) -> grpc.StatusCode:
    """The status that a call ends with."""
    if isinstance(error, asyncio.CancelledError):
        late = context.time_remaining()
        gone = late is not None and late <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if gone else grpc.StatusCode.CANCELLED
    told = context.code()
    number = told.value[0] if isinstance(told, grpc.StatusCode) else int(told or 0)
    if error is not None and not number:
        return grpc.StatusCode.UNKNOWN
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def _tell(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code in _FAULTS:
        span.set_status(StatusCode.ERROR)
