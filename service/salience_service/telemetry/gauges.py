"""What the engine counts and holds, read when Prometheus asks and not before."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from salience_service.admission import Load
from salience_service.explanation.cache import ExplanationCache
from salience_service.scheduling.workload import Occupancy, Workload
from salience_service.telemetry.witness import Witness


class Listed(Protocol):
    """What the gauges tell of a model."""

    @property
    def name(self) -> str:
        """By which callers ask for it."""
        ...

    @property
    def version(self) -> str:
        """Of its bundle."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the bundle's manifest, hex."""
        ...

    @property
    def provider(self) -> str:
        """That runs it."""
        ...

    @property
    def precision(self) -> str:
        """Of its numbers on the device."""
        ...

    @property
    def drift(self) -> float:
        """From its golden example at warm-up, relative."""
        ...

    @property
    def drift_limit(self) -> float:
        """The most at which it serves."""
        ...


class Observed(Protocol):
    """What the gauges read of an engine."""

    @property
    def workload(self) -> Workload:
        """What the devices have run so far."""
        ...

    @property
    def occupancy(self) -> Occupancy:
        """What waits for them and runs on them."""
        ...

    @property
    def load(self) -> Load:
        """What running explanations take."""
        ...

    @property
    def limit(self) -> Load:
        """The most that they may take."""
        ...

    @property
    def cache(self) -> ExplanationCache | None:
        """The explanations kept, where any are."""
        ...

    def models(self) -> Sequence[Listed]:
        """Every version that serves."""
        ...

    def ready(self) -> Mapping[str, bool]:
        """Every model that is known, and whether it answers requests."""
        ...


class Gauges(Collector):
    """Reads an engine, and the audit where there is one, at each scrape."""

    def __init__(self, engine: Observed, audit: Witness | None = None) -> None:
        self._engine, self._audit = engine, audit

    def describe(self) -> list[Metric]:
        """Nothing: so that registering reads no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        yield from _of_workload(self._engine.workload)
        yield from _of_occupancy(self._engine.occupancy)
        yield from _of_load(self._engine.load, self._engine.limit)
        yield from _of_models(self._engine.models())
        yield _of_readiness(self._engine.ready())
        if self._engine.cache is not None:
            yield from _of_cache(self._engine.cache)
        if self._audit is not None:
            what = "Lines that the audit could not write."
            yield _counter("audit_failures", what, self._audit.failures)


def _of_workload(work: Workload) -> Iterator[Metric]:
    yield _counter("rows", "Rows run on the devices.", work.rows)
    yield _counter("batch_places", "Rows that would have had room in their batches.", work.places)
    yield _counter("batches", "Device calls that ran rows.", work.batches)
    yield _counter("calls", "Device calls that a caller had alone.", work.calls)
    yield _counter(
        "device_wasted_seconds", "Device time for who had left meanwhile.", work.wasted_seconds
    )
    device = CounterMetricFamily(
        "salience_device_seconds", "Device time, by graph.", labels=("graph",)
    )
    for graph, seconds in work.device_seconds.items():
        device.add_metric((graph,), seconds)
    yield device


def _of_occupancy(now: Occupancy) -> Iterator[Metric]:
    yield _gauge("waiting_rows", "Rows and calls that wait for a lane.", now.waiting_rows)
    yield _gauge("lanes", "Calls that the devices may run at a time.", now.lanes)
    yield _gauge("lanes_busy", "Calls that they run now.", now.busy)


def _of_load(now: Load, most: Load) -> Iterator[Metric]:
    yield _gauge("explanations_running", "Explanations let in.", now.explanations)
    yield _gauge("queued_rows", "Rows that they may ask for together.", now.rows)
    yield _gauge("queued_bytes", "Bytes that they may hold together.", now.bytes)
    yield _gauge("explanations_limit", "The most let in at a time.", most.explanations)
    yield _gauge("queued_rows_limit", "The most rows.", most.rows)
    yield _gauge("queued_bytes_limit", "The most bytes.", most.bytes)


def _of_models(models: Sequence[Listed]) -> Iterator[Metric]:
    labels = ("model", "version")
    info = InfoMetricFamily("salience_model", "A version that serves.", labels=labels)
    drift = GaugeMetricFamily(
        "salience_model_drift_ratio",
        "Largest difference from the golden example at warm-up, relative.",
        labels=labels,
    )
    limit = GaugeMetricFamily(
        "salience_model_drift_limit_ratio", "The most at which it serves.", labels=labels
    )
    for model in models:
        who = (model.name, model.version)
        told = {"digest": model.digest, "provider": model.provider, "precision": model.precision}
        info.add_metric(who, told)
        drift.add_metric(who, model.drift)
        limit.add_metric(who, model.drift_limit)
    yield from (info, drift, limit)


def _of_readiness(ready: Mapping[str, bool]) -> Metric:
    told = GaugeMetricFamily(
        "salience_model_ready", "Whether a known model answers requests.", labels=("model",)
    )
    for model, answers in ready.items():
        told.add_metric((model,), answers)
    return told


def _of_cache(cache: ExplanationCache) -> Iterator[Metric]:
    asked, found = cache.lookups
    yield _counter("cache_lookups", "Answers looked for in the cache.", asked)
    yield _counter("cache_hits", "Answers found there.", found)
    yield _gauge("cache_bytes", "Bytes of the answers kept.", cache.bytes)
    yield _gauge("cache_limit_bytes", "The most bytes kept.", cache.most_bytes)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"salience_{name}", what, value)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"salience_{name}", what, value)
