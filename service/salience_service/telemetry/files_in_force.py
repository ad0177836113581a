"""The files that are read again while a server serves: whether what they say is in force."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from salience_service.access.certificates import watched_certificates
from salience_service.access.gate import watched_keys, watched_tokens
from salience_service.access.watched import Watched
from salience_service.config import ServeConfig


class FilesInForce(Collector):
    """Looks at them at each scrape.

    Args:
        config: names them.

    Raises:
        ConfigRefused: one cannot be used at the start.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._files = _watched(config)

    def describe(self) -> list[Metric]:
        """Nothing: so that registering looks at no file."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Of each, by the setting that names it."""
        told = GaugeMetricFamily(
            "salience_config_file_stale",
            "Whether a file could not be used when it was read again, and the last reading holds.",
            labels=("file",),
        )
        for setting, files in self._files.items():
            told.add_metric((setting,), files.stale)
        yield told


def _watched(config: ServeConfig) -> Mapping[str, Watched[Any]]:
    access = config.access
    files: Mapping[str, Watched[Any] | None] = {
        "tls": watched_certificates(config.tls) if config.tls else None,
        "access.tokens_file": watched_tokens(access) if access else None,
        "access.jwt.keys_file": watched_keys(access) if access else None,
    }
    return {setting: each for setting, each in files.items() if each}
