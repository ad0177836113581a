"""A span for each call, and its trace told to the server; loaded only where a tracer is given."""

import asyncio
import inspect
from functools import partial
from typing import Any

import grpc
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from salience.v1 import explanation_service_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["ExplanationService"]
_PROPAGATOR = TraceContextTextMapPropagator()
_Metadata = tuple[tuple[str, str], ...] | None


class TracedStub:
    """A stub, blocking or on asyncio, whose calls are spans in the trace that is current.

    Args:
        stub: makes the calls.
        tracer: makes the spans.
    """

    def __init__(self, stub: Any, tracer: Tracer) -> None:
        self._tracer = tracer
        self._ending = set[asyncio.Task[None]]()
        for method in _SERVICE.methods:
            name = f"{_SERVICE.full_name}/{method.name}"
            setattr(self, method.name, partial(self._call, getattr(stub, method.name), name))

    def _call(
        self, call: Any, name: str, request: Any, timeout: float | None, metadata: _Metadata
    ) -> Any:
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={"rpc.system.name": "grpc", "rpc.method": name},
        )
        carrier = dict[str, str]()
        _PROPAGATOR.inject(carrier, set_span_in_context(span))
        told = (*(metadata or ()), *carrier.items())
        try:
            answer = call(request, timeout=timeout, metadata=told)
        except grpc.RpcError as error:
            _end(span, error.code())
            raise
        if hasattr(answer, "add_done_callback"):
            answer.add_done_callback(partial(self._done, span))
        else:
            _end(span, grpc.StatusCode.OK)
        return answer

    def _done(self, span: Span, call: Any) -> None:
        code = call.code()
        if not inspect.isawaitable(code):
            _end(span, code)
            return
        ending = asyncio.ensure_future(_end_async(span, code))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _end_async(span: Span, code: Any) -> None:
    _end(span, await code)


def _end(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        span.set_status(StatusCode.ERROR)
    span.end()
