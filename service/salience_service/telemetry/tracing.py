"""Spans of explanations by OpenTelemetry, as a witness; loaded only where a collector is named."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from salience_service.config.tracing import TracingConfig
from salience_service.telemetry.records import OK, Arrival, ExplanationRecord, Refusal
from salience_service.telemetry.witness import UNWATCHED, Watch, Witness
from salience_service.version import SOFTWARE_VERSION

_EXPORT_SECONDS = 5.0
"""How long one delivery may take; so long does a server wait at its end, too."""


@contextmanager
def tracing(config: TracingConfig, exporter: SpanExporter | None = None) -> Iterator[Tracer]:
    """A tracer while the block lasts; at its end what was not sent yet is sent.

    Args:
        config: where spans go and how many are kept.
        exporter: sends them in place of the collector's.
    """
    sends = exporter or OTLPSpanExporter(
        config.endpoint,
        insecure=config.endpoint.startswith("http://"),
        timeout=_EXPORT_SECONDS,
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
        resource=Resource.create({"service.name": "salience", "service.version": SOFTWARE_VERSION}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(sends))
    try:
        yield provider.get_tracer("salience_service", SOFTWARE_VERSION)
    finally:
        provider.shutdown()


class Traces(Witness):
    """A span for each explanation, in that of its call, with one for each of its stages.

    Args:
        tracer: makes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def began(self, arrival: Arrival) -> Watch:
        """Begins its span, as a child of the span that is current; none where not sampled."""
        attributes = {"salience.request_id": arrival.request_id}
        span = self._tracer.start_span("explanation", kind=SpanKind.INTERNAL, attributes=attributes)
        return _SpanWatch(self._tracer, span) if span.is_recording() else UNWATCHED

    def refused(self, refusal: Refusal) -> None:
        """Says on the call's span why."""
        trace.get_current_span().set_attribute("salience.outcome", refusal.reason)


class _SpanWatch(Watch):
    """One explanation's span; its stages become spans at its end, with the times they had."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span
        self._epoch = time.time_ns() - time.monotonic_ns()

    def ended(self, record: ExplanationRecord) -> None:
        inside = trace.set_span_in_context(self._span)
        for stage in record.stages:
            told = {"salience.method": stage.method} if stage.method else {}
            began, ended = self._wall(stage.began), self._wall(stage.ended)
            self._tracer.start_span(stage.name, inside, attributes=told, start_time=began).end(
                ended
            )
        self._span.set_attributes(_attributes(record))
        if record.outcome != OK:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def _wall(self, monotonic: float) -> int:
        return self._epoch + int(monotonic * 1e9)


def _attributes(record: ExplanationRecord) -> Mapping[str, AttributeValue]:
    return {
        "salience.outcome": record.outcome,
        "salience.model.name": record.model,
        "salience.model.version": record.version,
        "salience.model.digest": record.bundle_digest,
        "salience.provider": record.provider,
        "salience.methods": record.methods,
        "salience.rows": record.rows,
        "salience.rows_spared": record.rows_spared,
        "salience.queue_seconds": record.queue_seconds,
        "salience.compute_seconds": record.compute_seconds,
        "salience.from_cache": record.from_cache,
    }
