"""One explanation as its watch is told of it: its order, its events, and what it came to."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from salience_service.control import Control
from salience_service.errors import Cancelled, DeadlineExceeded, SalienceError
from salience_service.events import Event, Finished, FinishedMap, Prediction, Progress, Started
from salience_service.request import ExplainOrder
from salience_service.rpc.wire.status import code_of
from salience_service.telemetry.records import OK, Arrival, ExplanationRecord
from salience_service.telemetry.witness import UNWATCHED, Watch

UNEXPECTED = "Unexpected"
"""The outcome where an error is none of our family: a fault of the server's own."""
AHEAD_SECONDS = 0.25
"""So much earlier than ours a caller's deadline may pass: gRPC sends how long the caller will wait,
and on its way, and on a busy server, a call takes time. Who leaves then left for want of time."""
_NOTHING = Arrival("", "", 0.0)


class Observation:
    """Tells a watch of one explanation, from the thread that runs it. Free where nobody watches.

    Args:
        arrival: the explanation. watch: who is told.
    """

    def __init__(self, arrival: Arrival = _NOTHING, watch: Watch = UNWATCHED) -> None:
        self._arrival, self._watch = arrival, watch
        self._asked: tuple[str, ...] = ()
        self._known: dict[str, Any] = {}
        self._complete = False

    @contextmanager
    def until_the_end(self, control: Control) -> Generator[None, None, None]:
        """Tells the end of what runs in the block, whatever ends it."""
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            if self._watch is not UNWATCHED:
                self._watch.ended(self._record(None if self._complete else failure, control))

    def asked(self, order: ExplainOrder) -> None:
        """The request was read."""
        if self._watch is not UNWATCHED:
            self._asked = tuple(call.name for call in order.methods)
            self._watch.asked(order)

    def said(self, event: Event, control: Control) -> None:
        """An event is about to go out.

        Raises:
            SalienceError: the watch does not let the last one go.
        """
        if self._watch is UNWATCHED:
            return
        self._note(event)
        self._watch.said(event)
        if isinstance(event, Finished):
            self._watch.finishing(self._record(None, control))
            self._complete = True

    def _note(self, event: Event) -> None:
        known = self._known
        match event:
            case Started():
                known.update(model=event.model, version=event.version, methods=self._asked)
                known.update(bundle_digest=event.bundle_digest, provider=event.provider)
            case Prediction():
                known["first_event_seconds"] = time.monotonic() - self._arrival.arrived
            case Progress():
                known.update(rows=event.rows_done, rows_left=event.rows_expected - event.rows_done)
            case FinishedMap():
                known["provenances"] = (*known.get("provenances", ()), event.provenance)
            case Finished(from_cache=True):  # Its figures are those of the run long ago.
                known["from_cache"] = True
            case Finished():
                known.update(rows=event.rows, rows_spared=event.rows_spared, rows_left=0)
                known["queue_seconds"] = event.queue_seconds
                known["compute_seconds"] = event.compute_seconds

    def _record(self, failure: BaseException | None, control: Control) -> ExplanationRecord:
        cause = None if failure is None else _cause(failure, control)
        return ExplanationRecord(
            request_id=self._arrival.request_id,
            principal=self._arrival.principal,
            outcome=OK if cause is None else outcome_of(cause),
            code=0 if cause is None else code_of(cause),
            whole_seconds=time.monotonic() - self._arrival.arrived,
            stages=control.stages.ended,
            **self._known,
        )


def outcome_of(error: BaseException) -> str:
    """The name that an error has in records: one of a bounded set."""
    return type(error).__name__ if isinstance(error, SalienceError) else UNEXPECTED


def _cause(failure: BaseException, control: Control) -> BaseException:
    """What ended an explanation; its reader's leaving comes as the close of a generator, or as
    rows that nobody waits for.
    """
    if not isinstance(failure, GeneratorExit | Cancelled):
        return failure
    if control.remaining(2 * AHEAD_SECONDS) < AHEAD_SECONDS:
        return DeadlineExceeded("the deadline passed before the explanation was complete")
    return failure if isinstance(failure, Cancelled) else Cancelled("the caller went away")
