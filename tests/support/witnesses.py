"""Witnesses that remember what they were told."""

from dataclasses import dataclass, field

from salience_service.errors import SalienceError
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.telemetry.records import Arrival, ExplanationRecord, InferenceRecord, Refusal
from salience_service.telemetry.witness import Watch, Witness


@dataclass
class RecordingWatch(Watch):
    """Remembers one explanation."""

    heard: list[str] = field(default_factory=list)
    records: list[ExplanationRecord] = field(default_factory=list)
    raised: Exception | None = None

    def asked(self, order: ExplainOrder) -> None:
        self.heard.append(type(order).__name__)

    def said(self, event: Event) -> None:
        self.heard.append(type(event).__name__)

    def finishing(self, record: ExplanationRecord) -> None:
        self.heard.append("finishing")

    def ended(self, record: ExplanationRecord) -> None:
        self.heard.append("ended")
        self.records.append(record)


class Strict(RecordingWatch):
    """Lets no answer be completed."""

    def __init__(self, error: SalienceError) -> None:
        super().__init__()
        self._error = error

    def finishing(self, record: ExplanationRecord) -> None:
        raise self._error


class Recorder(Witness):
    """Remembers all that a server tells."""

    def __init__(self) -> None:
        self._watches: list[RecordingWatch] = []
        self.refusals: list[Refusal] = []
        self.inferences: list[InferenceRecord] = []

    @property
    def records(self) -> list[ExplanationRecord]:
        """Of explanations that ended."""
        return [record for watch in self._watches for record in watch.records]

    def began(self, arrival: Arrival) -> Watch:
        self._watches.append(RecordingWatch())
        return self._watches[-1]

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def inferred(self, record: InferenceRecord) -> None:
        self.inferences.append(record)
