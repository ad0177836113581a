"""Bursts: of what comes again and again so much is let through, and of the rest the number is told.

A rate limiter (throttled-py, as for quotas) says whether one more may pass, and forgets those that
may not; here their number is what matters, and that it is told when the burst is over.
"""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kind = TypeVar("Kind", bound=Hashable)


class Bursts(Generic[Kind]):
    """Owns the counts of what comes, by its kind. Safe from any thread; kinds must be few.

    Args:
        most: of a kind that pass in a window, ≥ 1.
        seconds: how long a window is open, from the first of its kind on.
        tell: called in a thread of its own when a window closes in which more came: the kind, and
            how many of it did not pass.
    """

    def __init__(self, most: int, seconds: float, tell: Callable[[Kind, int], None]) -> None:
        self._most, self._seconds, self._tell = most, seconds, tell
        self._windows: dict[Kind, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def passes(self, kind: Kind) -> bool:
        """Counts one more of a kind; whether it is among the first of its window."""
        now = time.monotonic()
        with self._lock:
            began, came = self._windows.get(kind, (now, 0))
            # One in which too many came is closed by its timer, which tells of them.
            if now - began >= self._seconds and came <= self._most:
                began, came = now, 0
            self._windows[kind] = began, came + 1
        if came == self._most:
            self._close_in(began + self._seconds - now, kind)
        return came < self._most

    def close(self) -> None:
        """Closes every window now, and tells in the calling thread of what did not pass."""
        with self._lock:
            kinds = [*self._windows]
        for kind in kinds:
            self._close(kind)

    def _close_in(self, seconds: float, kind: Kind) -> None:
        timer = threading.Timer(max(seconds, 0), self._close, (kind,))
        timer.daemon = True  # A process that ends waits for no summary.
        timer.start()

    def _close(self, kind: Kind) -> None:
        with self._lock:
            _, came = self._windows.pop(kind, (0.0, 0))
        if came > self._most:
            self._tell(kind, came - self._most)
