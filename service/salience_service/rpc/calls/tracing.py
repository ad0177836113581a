"""A span for each call that is let in, in the caller's trace; loaded only where spans are sent.

OpenTelemetry's own instrumentation of grpc.aio iterates over what a streaming handler
returns; ours write to their context, as gRPC lets them. It does not see
`abort_with_status` either, and notes texts of errors, which may quote a request.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.context import Context as TraceContext
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from salience_service.rpc.calls.caller import request_id
from salience_service.rpc.wire.status import code_of

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


class CallSpans:
    """Makes the spans of calls.

    Args:
        tracer: makes them.
        calls: SERVICE/METHOD of those that have one. Of what there is not, the name is a
            caller's own text.
    """

    def __init__(self, tracer: Tracer, calls: Iterable[str]) -> None:
        self._tracer = tracer
        self._calls = frozenset(calls)

    @contextmanager
    def traced(self, path: str, context: Any) -> Iterator[None]:
        """The span of a call while the block lasts, in the trace that its caller names."""
        name = path.removeprefix("/")
        if name not in self._calls:
            yield
            return
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
                yield
            except BaseException as error:
                _tell(span, _code(context, error))
                raise
            _tell(span, _code(context, None))


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
        number = code_of(error)  # The authentication tells it once the span has ended.
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def _tell(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code in _FAULTS:
        span.set_status(StatusCode.ERROR)
