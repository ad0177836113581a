"""A collector of spans in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind


@dataclass
class Collected(SpanExporter):
    """Keeps what it is sent; complete once the tracing has ended."""

    spans: list[ReadableSpan] = field(default_factory=list)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS

    def named(self, name: str) -> list[ReadableSpan]:
        """All of that name, in the order they ended."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str, kind: SpanKind | None = None) -> ReadableSpan:
        """The one of that name and kind."""
        (span,) = [each for each in self.named(name) if kind in (None, each.kind)]
        return span
