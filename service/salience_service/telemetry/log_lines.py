"""Writes a line for each explanation, prediction, action and refusal, as a witness."""

import logging
from collections.abc import Mapping

from salience_service.telemetry.bursts import Bursts
from salience_service.telemetry.log_format import TOLD
from salience_service.telemetry.records import (
    Action,
    ActionRecord,
    Arrival,
    ExplanationRecord,
    InferenceRecord,
    Refusal,
)
from salience_service.telemetry.witness import Ended, Watch, Witness

_log = logging.getLogger("salience_service.requests")
_OUR_FAULT = 13
"""gRPC's INTERNAL: the device or the server failed, not the caller."""
MOST_REFUSALS, WINDOW_SECONDS = 20, 60.0
"""Lines of refusals for one reason, and in which time: being refused costs a stranger nothing."""
_DIGITS = 6
"""Of seconds: microseconds."""


class LogLines(Witness):
    """Logs what ended at "info", and at "error" what failed by the server's fault.

    Args:
        seconds: of a window. most: lines of refusals written in it for one reason.
    """

    def __init__(self, seconds: float = WINDOW_SECONDS, most: int = MOST_REFUSALS) -> None:
        self._refusals = Bursts(most, seconds, _tell_left_out)

    def began(self, arrival: Arrival) -> Watch:  # noqa: ARG002
        """Watches every explanation."""
        return _LINES

    def inferred(self, record: InferenceRecord) -> None:
        """A line for it."""
        fields = {
            **_who(record),
            "images": record.images,
            **_seconds(record),
        }
        _write("inferred", record.code, fields)

    def acting(self, action: Action) -> Ended:
        """A line before it, for it may take long, and one at its end."""
        _write("acting", 0, _what(action))
        return _acted

    def refused(self, refusal: Refusal) -> None:
        """A line for it, or after many of the same reason one for them all."""
        if not self._refusals.passes(refusal.reason):
            return
        fields = {
            "request_id": refusal.request_id,
            "principal": refusal.principal,
            "outcome": refusal.reason,
            "rpc": refusal.rpc,
        }
        _write("refused", 0, fields)


class _LineWatch(Watch):
    def ended(self, record: ExplanationRecord) -> None:
        first = record.first_event_seconds
        fields = {
            **_who(record),
            "methods": list(record.methods),
            "provider": record.provider,
            "rows": record.rows,
            "rows_spared": record.rows_spared,
            "from_cache": record.from_cache,
            **_seconds(record),
            "first_event_seconds": None if first is None else round(first, _DIGITS),
        }
        _write("explained", record.code, fields)


_LINES = _LineWatch()


def _who(record: ExplanationRecord | InferenceRecord) -> dict[str, object]:
    return {
        "request_id": record.request_id,
        "principal": record.principal,
        "outcome": record.outcome,
        "model": record.model,
        "version": record.version,
    }


def _what(action: Action) -> dict[str, object]:
    return {
        "request_id": action.request_id,
        "principal": action.principal,
        "action": action.name,
        "model": action.model,
        "version": action.version,
    }


def _acted(record: ActionRecord) -> None:
    fields = {
        **_what(record.action),
        "outcome": record.outcome,
        "seconds": round(record.whole_seconds, _DIGITS),
    }
    _write("acted", record.code, fields)


def _seconds(record: ExplanationRecord | InferenceRecord) -> dict[str, object]:
    return {
        "seconds": round(record.whole_seconds, _DIGITS),
        "queue_seconds": round(record.queue_seconds, _DIGITS),
        "compute_seconds": round(record.compute_seconds, _DIGITS),
    }


def _tell_left_out(reason: str, number: int) -> None:
    _write("refusals left out", 0, {"outcome": reason, "refusals": number})


def _write(what: str, code: int, fields: Mapping[str, object]) -> None:
    level = logging.ERROR if code == _OUR_FAULT else logging.INFO
    _log.log(level, what, extra={TOLD: fields})
