"""The seam of all that watches a server: metrics, traces, logs and the audit are witnesses.

A server holds a tuple of them. Of each explanation a witness may make a `Watch`, which then
hears the order, every event and the end; it keeps what it needs of one explanation there (a
span, a digest). Methods do nothing unless overridden, so a server without witnesses pays
nothing.

    class Audit(Witness):
        def began(self, arrival: Arrival) -> Watch:
            return AuditWatch(self._file, arrival)     # `asked` digests the image, `said` the maps
"""

from collections.abc import Callable

from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.telemetry.records import (
    Action,
    ActionRecord,
    Arrival,
    ExplanationRecord,
    InferenceRecord,
    Refusal,
)

Ended = Callable[[ActionRecord], None]
"""Hears what an action came to. From any thread, once; must not raise."""


class Watch:
    """One explanation under observation. Called from one thread, in this order."""

    def asked(self, order: ExplainOrder) -> None:
        """The request was read; whether model and methods are known is not settled yet.

        `order.image` holds the bytes or pixels sent: whoever digests them does so here.
        """

    def said(self, event: Event) -> None:
        """An event, before it goes out; `FinishedMap.encoded.data` are the bytes of a map.

        Raises:
            SalienceError: as `finishing`, and the audit alone: on `Started`.
        """

    def finishing(self, record: ExplanationRecord) -> None:
        """All is answered, and the last message has not gone out yet.

        Raises:
            SalienceError: the answer may not be completed; it ends with this error. Only the
                audit does so, where its policy is that what cannot be written is not answered.
        """

    def ended(self, record: ExplanationRecord) -> None:
        """The end, once for every explanation that began. Must not raise."""


UNWATCHED = Watch()


class Witness:
    """Watches a server. Called from any thread; must not block, and must not raise.

    Attributes:
        failures: what it should have put down and could not; the audit counts them.
    """

    failures: int = 0

    def began(self, arrival: Arrival) -> Watch:  # noqa: ARG002
        """An explanation begins; called on the event loop, in the context of its RPC."""
        return UNWATCHED

    def refused(self, refusal: Refusal) -> None:
        """A call, or a request in it, was turned away and became nothing else."""

    def inferred(self, record: InferenceRecord) -> None:
        """A plain prediction ended, whatever ended it.

        Of one that was answered this is told before its answer goes out, in a thread that may wait
        for a disk.

        Raises:
            SalienceError: its answer may not go out; by the audit alone, as for `Watch.finishing`.
        """

    def acting(self, action: Action) -> Ended:  # noqa: ARG002
        """An administrator's action is about to be done; in a thread that may wait for a disk.

        Raises:
            SalienceError: it may not be done; by the audit alone, as for `Watch.finishing`.
        """
        return _unheard


class Witnesses(Witness):
    """All of a server's witnesses as one, told in their order.

    Args:
        all_: those that watch.
    """

    def __init__(self, all_: tuple[Witness, ...] = ()) -> None:
        self._all = all_

    def began(self, arrival: Arrival) -> Watch:
        """Gives one watch for all that want one."""
        watches = [witness.began(arrival) for witness in self._all]
        watching = tuple(watch for watch in watches if watch is not UNWATCHED)
        return _Watches(watching) if watching else UNWATCHED

    def refused(self, refusal: Refusal) -> None:
        """Tells all."""
        for witness in self._all:
            witness.refused(refusal)

    def inferred(self, record: InferenceRecord) -> None:
        """Tells all, until one does not let the answer go out."""
        for witness in self._all:
            witness.inferred(record)

    def acting(self, action: Action) -> Ended:
        """Tells all; and of the end, those that heard of the beginning."""
        hear = [witness.acting(action) for witness in self._all]

        def ended(record: ActionRecord) -> None:
            for each in hear:
                each(record)

        return ended


class _Watches(Watch):
    def __init__(self, all_: tuple[Watch, ...]) -> None:
        self._all = all_

    def asked(self, order: ExplainOrder) -> None:
        for watch in self._all:
            watch.asked(order)

    def said(self, event: Event) -> None:
        for watch in self._all:
            watch.said(event)

    def finishing(self, record: ExplanationRecord) -> None:
        for watch in self._all:
            watch.finishing(record)

    def ended(self, record: ExplanationRecord) -> None:
        for watch in self._all:
            watch.ended(record)


def _unheard(_: ActionRecord) -> None:
    """Nobody wants to know."""


NOBODY = Witnesses()
"""What a server without telemetry has."""
