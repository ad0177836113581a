"""What runs out while a server serves: the time of its certificate, the room for its audit."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from salience_service.access.expiry import Expiry


class Supplies(Collector):
    """Looks at both at each scrape.

    Args:
        expiry: of the certificate; None = there is none.
        trail: the audit's directory; None = there is none.
    """

    def __init__(self, expiry: Expiry | None = None, trail: Path | None = None) -> None:
        self._expiry, self._trail = expiry, trail

    def describe(self) -> list[Metric]:
        """Nothing: so that registering looks at no file."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What is left; where the trail's directory cannot be reached, nothing of it."""
        if self._expiry is not None:
            yield GaugeMetricFamily(
                "salience_tls_certificate_expiry_timestamp_seconds",
                "When the certificate ends that new connections are shown, since 1970.",
                self._expiry.ends.timestamp(),
            )
        free = None if self._trail is None else _free_bytes(self._trail)
        if free is not None:
            yield GaugeMetricFamily(
                "salience_audit_free_bytes",
                "Bytes that the server may still write where its audit lies.",
                free,
            )


def _free_bytes(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None
