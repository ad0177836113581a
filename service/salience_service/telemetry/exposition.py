"""Figures over HTTP for Prometheus, on a port of their own."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.registry import Collector

from salience_service.config.metrics import MetricsConfig
from salience_service.errors import ConfigRefused
from salience_service.telemetry.gauges import Gauges, Observed
from salience_service.telemetry.metrics import Metrics
from salience_service.telemetry.scrapes import ScrapeServer
from salience_service.telemetry.witness import Witness


@contextmanager
def exposed(
    config: MetricsConfig,
    engine: Observed,
    audit: Witness | None = None,
    others: Sequence[Collector] = (),
) -> Iterator[tuple[Metrics, str]]:
    """Counts, and answers at the address, while the block lasts; gives where it answers.

    Args:
        config: where.
        engine: whose figures are read.
        audit: whose failures are counted.
        others: what else is read at each scrape.

    Raises:
        ConfigRefused: the address cannot be bound.
    """
    # They would be a second series for every counter, and nobody asks for them.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Gauges(engine, audit))
    for other in others:
        registry.register(other)
    metrics = Metrics(registry, config.principals)
    host, _, port = config.address.rpartition(":")
    try:
        server = ScrapeServer(host.strip("[]"), int(port), make_wsgi_app(registry))
    except OSError as error:
        raise ConfigRefused(
            f"metrics cannot listen on {config.address}: the port is taken or the host is not "
            "this machine's"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="salience-metrics", daemon=True)
    thread.start()
    try:
        yield metrics, f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
