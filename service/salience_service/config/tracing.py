"""`[tracing]`: where spans go."""

from pydantic import Field

from salience_service.config.section import Section


class TracingConfig(Section):
    """OpenTelemetry spans of each call, by OTLP over gRPC; needs the extra `telemetry`."""

    endpoint: str = Field(default="", pattern=r"^(https?://[^\s/@]+)?$")
    """The collector, such as "http://127.0.0.1:4317"; https:// for TLS. Empty = no spans are made
    and OpenTelemetry is not loaded."""

    sample_ratio: float = Field(default=0.1, ge=0, le=1)
    """The share of traces kept that begin here; where a caller's trace goes on, the caller's
    choice holds."""
