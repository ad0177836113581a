"""All of a server's telemetry, opened by its configuration; what is off is not even loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from salience_service.config import ServeConfig
from salience_service.errors import ConfigRefused
from salience_service.telemetry.witness import Witness

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from salience_service.access.expiry import Expiry
    from salience_service.telemetry.gauges import Observed


@dataclass(frozen=True)
class Telemetry:
    """What watches a server.

    Attributes:
        witnesses: to be told of what happens. tracer: makes the spans of calls, where any are.
        metrics_address: where Prometheus is answered; empty where it is not.
    """

    witnesses: tuple[Witness, ...] = ()
    tracer: Tracer | None = None
    metrics_address: str = ""


UNOBSERVED = Telemetry()


@contextmanager
def telemetry(
    config: ServeConfig, engine: Observed, audit: Witness | None = None
) -> Iterator[Telemetry]:
    """Watches while the block lasts.

    Args:
        config: what is on.
        engine: whose figures are told.
        audit: the audit, which its owner closes; told first, for it may refuse an answer.

    Raises:
        ConfigRefused: an address cannot be bound, a library is missing, or a file of `[tls]` or
            `[access]` cannot be used.
    """
    from salience_service.telemetry.log_lines import LogLines

    witnesses: list[Witness] = [LogLines()] if audit is None else [audit, LogLines()]
    tracer, address = None, ""
    with ExitStack() as stack:
        expiry = _expiring(config, stack)
        if config.metrics.address:
            from salience_service.telemetry.exposition import exposed
            from salience_service.telemetry.files_in_force import FilesInForce
            from salience_service.telemetry.supplies import Supplies

            supplies = Supplies(expiry, config.audit.place if config.audit else None)
            read = (supplies, FilesInForce(config))
            exposition = exposed(config.metrics, engine, audit, read)
            metrics, address = stack.enter_context(exposition)
            witnesses.append(metrics)
        if config.tracing.endpoint:
            tracer, traces = _traced(config, stack)
            witnesses.append(traces)
        yield Telemetry(tuple(witnesses), tracer, address)


def needs_opentelemetry() -> None:
    """Looks whether spans can be made.

    Raises:
        ConfigRefused: OpenTelemetry is not installed.
    """
    try:
        import salience_service.telemetry.tracing  # noqa: F401
    except ImportError as error:
        raise ConfigRefused(
            "tracing.endpoint needs OpenTelemetry: pip install 'salience[telemetry]'"
        ) from error


def _expiring(config: ServeConfig, stack: ExitStack) -> Expiry | None:
    if config.tls is None:
        return None
    from salience_service.access.expiry import expiry_watched

    return stack.enter_context(expiry_watched(config.tls))


def _traced(config: ServeConfig, stack: ExitStack) -> tuple[Tracer, Witness]:
    needs_opentelemetry()
    from salience_service.telemetry.tracing import Traces, tracing

    tracer = stack.enter_context(tracing(config.tracing))
    return tracer, Traces(tracer)
