"""Counts explanations for Prometheus, as a witness: what ended, what was refused, how long it took.

Labels have few values: models and methods are those served, outcomes the names of our errors.
docs/observability.md says what each figure means.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

from salience_service.events import Event, Finished, FinishedMap
from salience_service.telemetry.records import (
    OK,
    Action,
    ActionRecord,
    Arrival,
    ExplanationRecord,
    InferenceRecord,
    Refusal,
)
from salience_service.telemetry.witness import Ended, Watch, Witness

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper ends of the buckets, from a cached answer to the longest optimised map on a CPU."""


class Metrics(Witness):
    """Owns the counters of one server.

    Args:
        registry: where they are found.
        principals: count explanations by who asks, too; else under the empty name.
    """

    def __init__(self, registry: CollectorRegistry, principals: bool = False) -> None:
        self._principals = principals
        self.explanations = Counter(
            "salience_explanations",
            "Explanations that ended, by what they came to.",
            ("model", "outcome", "principal"),
            registry=registry,
        )
        self.refusals = Counter(
            "salience_refusals",
            "What ended with an error: calls, explanations, predictions, actions.",
            ("reason", "principal"),
            registry=registry,
        )
        self.maps = Counter(
            "salience_maps",
            "Finished maps.",
            ("model", "method", "gradient_side"),
            registry=registry,
        )
        self.spared = Counter(
            "salience_rows_spared",
            "Rows and gradients that need not run, being like others or of a dead channel.",
            ("model",),
            registry=registry,
        )
        self.cancelled = Counter(
            "salience_rows_cancelled",
            "Rows still expected of explanations that ended early; they never ran.",
            ("model",),
            registry=registry,
        )
        self.whole = _seconds("explanation", "An answered explanation, whole.", registry)
        self.queue = _seconds("queue", "Its work waited for a device.", registry)
        self.compute = _seconds("compute", "Its share of the devices.", registry)
        self.first = _seconds("first_event", "Until its prediction was told.", registry)
        self.map = Histogram(
            "salience_map_seconds",
            "One map with its scores.",
            ("method",),
            buckets=SECONDS,
            registry=registry,
        )
        self.inferences = Counter(
            "salience_inferences",
            "Plain predictions that ended.",
            ("model", "outcome"),
            registry=registry,
        )
        self.inference = _seconds("inference", "An answered plain prediction.", registry)

    def began(self, arrival: Arrival) -> Watch:  # noqa: ARG002
        """Watches every explanation."""
        return _MetricsWatch(self)

    def refused(self, refusal: Refusal) -> None:
        """Counts it."""
        self.refusals.labels(refusal.reason, self.label_of(refusal.principal)).inc()

    def inferred(self, record: InferenceRecord) -> None:
        """Counts it."""
        self.inferences.labels(record.model, record.outcome).inc()
        if record.outcome == OK:
            self.inference.labels(record.model).observe(record.whole_seconds)
        else:
            self.refusals.labels(record.outcome, self.label_of(record.principal)).inc()

    def acting(self, action: Action) -> Ended:  # noqa: ARG002
        """Counts those that end with an error."""
        return self._acted

    def explained(self, record: ExplanationRecord) -> None:
        """Counts one that ended."""
        principal = self.label_of(record.principal)
        self.explanations.labels(record.model, record.outcome, principal).inc()
        if record.outcome != OK:
            self.refusals.labels(record.outcome, principal).inc()
        self.cancelled.labels(record.model).inc(record.rows_left)
        self.spared.labels(record.model).inc(record.rows_spared)
        if record.first_event_seconds is not None:
            self.first.labels(record.model).observe(record.first_event_seconds)
        if record.outcome == OK:
            self.whole.labels(record.model).observe(record.whole_seconds)
            self.queue.labels(record.model).observe(record.queue_seconds)
            self.compute.labels(record.model).observe(record.compute_seconds)

    def _acted(self, record: ActionRecord) -> None:
        if record.outcome != OK:
            self.refusals.labels(record.outcome, self.label_of(record.action.principal)).inc()

    def label_of(self, principal: str) -> str:
        """A principal's label."""
        return principal if self._principals else ""


class _MetricsWatch(Watch):
    """Counts the maps of one explanation, and at its end the whole."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._methods: dict[int, str] = {}

    def said(self, event: Event) -> None:
        if isinstance(event, FinishedMap):
            told = event.provenance
            self._methods[event.map_id] = told.method
            side = told.gradient_side.value
            self._metrics.maps.labels(told.model, told.method, side).inc()
        elif isinstance(event, Finished) and not event.from_cache:
            for map_id, seconds in zip(sorted(self._methods), event.map_seconds, strict=False):
                self._metrics.map.labels(self._methods[map_id]).observe(seconds)

    def ended(self, record: ExplanationRecord) -> None:
        self._metrics.explained(record)


def _seconds(name: str, what: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        f"salience_{name}_seconds", what, ("model",), buckets=SECONDS, registry=registry
    )
