"""The caller's hold on a running explanation: its deadline, and the word to stop."""

import threading
import time
from collections.abc import Callable

from salience_service.errors import Cancelled, DeadlineExceeded, SalienceError, anew
from salience_service.stages import Stages


class Control:
    """Shared by the caller, the explanation and the scheduler; safe from any thread.

    Args:
        deadline: `time.monotonic()` seconds after which the answer is of no use, or None.
        charge_rows: is told of the rows it will take before any of them runs; may refuse them.
        asker: who asks, by name; answers that are kept are kept for them alone.

    Attributes:
        stages: what its time went into, written by the thread that explains.
    """

    def __init__(
        self,
        deadline: float | None = None,
        charge_rows: Callable[[int], None] = lambda _: None,
        asker: str = "",
    ) -> None:
        self.deadline = deadline
        self.charge_rows = charge_rows
        self.asker = asker
        self.stages = Stages()
        self._cancelled = threading.Event()
        self._because: SalienceError | None = None
        self._lock = threading.Lock()
        self._listeners: dict[Callable[[], None], None] = {}

    def cancel(self, because: SalienceError | None = None) -> None:
        """Stops the work: rows not yet run are dropped. Calling it again does nothing.

        Args:
            because: what the explanation ends with, where it is not the caller who left.
        """
        with self._lock:
            if self._cancelled.is_set():
                return
            self._because = because
            self._cancelled.set()
            listeners, self._listeners = self._listeners, {}
        for listener in listeners:
            listener()

    def on_cancel(self, listener: Callable[[], None]) -> None:
        """Calls `listener` once when the work is cancelled; at once if it already is.

        A listener that is known already is not kept again.
        """
        with self._lock:
            if not self._cancelled.is_set():
                self._listeners[listener] = None
                return
        listener()

    @property
    def dead(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._cancelled.is_set() or self.late

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def check(self) -> None:
        """Raises where nobody waits any more: Cancelled, DeadlineExceeded, or what ended it."""
        if self.late:
            raise DeadlineExceeded("the deadline passed before the explanation was complete")
        if self._cancelled.is_set():
            if self._because:
                raise anew(self._because)
            raise Cancelled("the caller cancelled the explanation")

    def remaining(self, at_most: float) -> float:
        """Seconds until the deadline, between 0 and `at_most`."""
        if self.deadline is None:
            return at_most
        return min(at_most, max(0.0, self.deadline - time.monotonic()))
