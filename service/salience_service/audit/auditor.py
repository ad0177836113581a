"""The auditor: the witness that writes a record of what is done, before it is answered."""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from salience_service.access.principal import ANONYMOUS
from salience_service.audit import record
from salience_service.audit.keys import AuditKeys
from salience_service.audit.line import Kind
from salience_service.audit.trail import NotOnDisk, Trail
from salience_service.errors import Unavailable
from salience_service.events import Event, FinishedMap, Started
from salience_service.request import ExplainOrder, ImageInput
from salience_service.telemetry.bursts import Bursts
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

MOST_WAITING = 1000
"""Lines that wait to be written and nothing waits for; more are counted as failures, and the next
that can be written tells how many (`untold`)."""
MOST_ALIKE, WINDOW_SECONDS = 20, 600.0
"""Lines of calls of one caller that are refused alike, and in which time: being refused costs
nothing, a disk does. Of more the number is told when it is over."""
RETRY_SECONDS = 5.0
"""After which who was refused for want of a record may try again: a disk is not freed at once."""
_log = logging.getLogger(__name__)


class Auditor(Witness):
    """Records in a trail, which it owns. Safe from any thread.

    Two lines an explanation: one before anything of it goes out, one before its last event does.
    A server that is killed between them leaves the first; nothing is ever answered of which no
    record speaks, where `refuses` is set. Likewise of an administrator's action: one line before
    it is done, one of its outcome. What is done cannot be taken back, so the first alone decides.

    Args:
        trail: where lines go.
        keys: of the digests.
        refuses: whether what cannot be recorded is not answered, or not done.
        most_alike: lines of calls that are refused alike, in a window.
    """

    def __init__(
        self, trail: Trail, keys: AuditKeys, refuses: bool = True, most_alike: int = MOST_ALIKE
    ) -> None:
        self._trail, self.keys, self._refuses = trail, keys, refuses
        self._later = ThreadPoolExecutor(1, thread_name_prefix="salience-audit")
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._alike = Bursts(most_alike, WINDOW_SECONDS, self._note_others)
        self._counting = threading.Lock()
        self._untold = 0
        self.failures = 0

    def began(self, arrival: Arrival) -> Watch:
        """Watches an explanation."""
        return _AuditWatch(self, arrival)

    def refused(self, refusal: Refusal) -> None:
        """Records that a known caller was turned away, in a thread of its own.

        Who is not known is not recorded: anyone could fill the disk. Of a known caller the first
        of those that are alike are, and the number of the others.
        """
        known = refusal.principal not in ("", ANONYMOUS.name)
        if known and self._alike.passes(replace(refusal, request_id="")):
            self._note_later(Kind.TURNED_AWAY, record.turned_away(refusal))

    def inferred(self, record_: InferenceRecord) -> None:
        """Records a plain prediction; its answer waits for that where `refuses` is set.

        Of those that were not answered the first that are alike are recorded, as of `refused`.

        Raises:
            Unavailable: as of `write`.
        """
        answered = record_.outcome == OK
        if answered and self._refuses:
            self.write(Kind.PREDICTED, record.predicted(record_))
        elif answered or self.is_among_first(record_):
            self._note_later(Kind.PREDICTED, record.predicted(record_))

    def is_among_first(self, record_: ExplanationRecord | InferenceRecord) -> bool:
        """Whether what was refused has a line of its own; the others like it are counted."""
        return self._alike.passes(Refusal(record_.outcome, "", record_.principal))

    def acting(self, action: Action) -> Ended:
        """Records an action before it is done; what is returned, its outcome.

        Raises:
            Unavailable: as of `write`.
        """
        began = self.write(Kind.ACTION_BEGAN, record.action_began(action))

        def ended(record_: ActionRecord) -> None:
            self.note(Kind.ACTION_ENDED, record.action_ended(record_, began))

        return ended

    def write(self, kind: Kind, fields: Mapping[str, object]) -> int | None:
        """Writes a line that an answer waits for; its number, None where it was not written.

        Raises:
            Unavailable: it cannot be written, and what is not recorded is not done. A line that is
                written and perhaps not on the disk is withdrawn, for what it tells is not done.
        """
        try:
            return self._trail.append(kind, fields)
        except OSError as fault:
            self._tell(kind, fault)
            number = fault.number if isinstance(fault, NotOnDisk) else None
            if not self._refuses:
                return number
            if number is not None:
                self._trail.withdraw(number)
            raise Unavailable(
                "this server cannot record requests now, and answers none unrecorded: try "
                "again later, or ask another",
                retry_after=RETRY_SECONDS,
            ) from fault

    def note(self, kind: Kind, fields: Mapping[str, object], durable: bool = True) -> bool:
        """Writes a line that nothing waits for; returns whether it could."""
        try:
            self._trail.append(kind, fields, durable)
        except OSError as fault:
            self._tell(kind, fault)
            return False
        return True

    def close(self) -> None:
        """Writes what waits, and finishes the trail."""
        self._alike.close()
        self._later.shutdown()
        if self._untold:
            _log.critical("audit: %d lines were counted and NOT written", self._untold)
        try:
            self._trail.close()
        except OSError as fault:
            self._tell(Kind.TAIL, fault)

    def _note_later(self, kind: Kind, fields: Mapping[str, object]) -> None:
        if self._room.acquire(blocking=False):
            with suppress(RuntimeError):  # The server is closing.
                self._later.submit(self._note_now, kind, fields)
                return
        with self._counting:
            self._untold += 1
            self.failures += 1

    def _note_others(self, alike: Refusal, number: int) -> None:
        self._note_later(Kind.TURNED_AWAY, record.turned_away(alike, number))

    def _note_now(self, kind: Kind, fields: Mapping[str, object]) -> None:
        self._room.release()
        with self._counting:
            untold, self._untold = self._untold, 0
        if not self.note(kind, {**fields, "untold": untold}, durable=False):
            with self._counting:  # The next line that can be written tells of this one, too.
                self._untold += untold + 1

    def _tell(self, kind: Kind, fault: OSError) -> None:
        with self._counting:
            self.failures += 1
        _log.critical("audit: a line %r was NOT written: %s", kind.value, fault.strerror)


class _AuditWatch(Watch):
    """What an explanation's records need of it, kept until they are written."""

    def __init__(self, auditor: Auditor, arrival: Arrival) -> None:
        self._auditor, self._arrival = auditor, arrival
        self._image: ImageInput | None = None
        self._digest = ""
        self._began: int | None = None
        self._results: list[str] = []
        self._written = False

    def asked(self, order: ExplainOrder) -> None:
        """Keeps the image until it is known that there will be work on it."""
        self._image = order.image

    def said(self, event: Event) -> None:
        """Records the beginning before it goes out; digests maps."""
        match event:
            case Started():
                assert self._image is not None  # An order comes before its events.
                self._digest = record.image_digest(self._auditor.keys, self._image)
                self._image = None
                fields = record.began(self._arrival, event, self._digest)
                self._began = self._auditor.write(Kind.BEGAN, fields)
            case FinishedMap():
                data = event.encoded.data
                self._results.append(record.result_digest(self._auditor.keys, data))

    def finishing(self, record_: ExplanationRecord) -> None:
        """Records the end before the last event goes out."""
        self._auditor.write(Kind.ENDED, self._fields(record_))
        self._written = True

    def ended(self, record_: ExplanationRecord) -> None:
        """Records an end that was not the answer's; of those refused alike, the first."""
        self._image = None
        let_in = bool(self._digest)
        if not self._written and (let_in or self._auditor.is_among_first(record_)):
            # Whoever is refused need not wait for the disk; whoever was let in is waited for.
            self._auditor.note(Kind.ENDED, self._fields(record_), durable=let_in)

    def _fields(self, record_: ExplanationRecord) -> record.Fields:
        return record.ended(record_, self._began, self._digest, self._results)
