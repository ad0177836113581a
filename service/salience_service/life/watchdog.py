"""The watchdog: sees calls on a device that do not return, from a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable

_LOOKS = 20
"""Looks within the limit: a stuck call is found at most a twentieth of it late."""
_LONGEST_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class CallAges:
    """How long the calls that run now have been running, as far as this process ran itself.

    Between two looks at most `most` seconds count: a process that stood still (SIGSTOP, a
    frozen container, a moved virtual machine) had no time to answer.

    Args:
        calls: those that run now, each with an identity of its own.
        most: seconds that count between two looks.
        clock: seconds; only goes forward.
    """

    def __init__(
        self,
        calls: Callable[[], Iterable[Hashable]],
        most: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls, self._most, self._clock = calls, most, clock
        self._ages: dict[Hashable, float] = {}
        self._looked = clock()

    def oldest(self) -> float:
        """Looks; the age of the oldest in seconds, 0 where none runs."""
        now = self._clock()
        passed = min(now - self._looked, self._most)
        self._looked = now
        known = self._ages
        self._ages = {
            call: known[call] + passed if call in known else 0.0 for call in self._calls()
        }
        return max(self._ages.values(), default=0.0)


class Watchdog:
    """Looks at the calls until told to stop, and says once that one is stuck.

    Args:
        calls: those that run now.
        limit: how long a call may take, in seconds; asked anew at each look, since models come
            and go.
        on_stuck: called in the watchdog's thread, with the seconds; nothing is watched after it.
    """

    def __init__(
        self,
        calls: Callable[[], Iterable[Hashable]],
        limit: Callable[[], float],
        on_stuck: Callable[[float], None],
    ) -> None:
        self._limit, self._on_stuck = limit, on_stuck
        self._pause = min(limit() / _LOOKS, _LONGEST_PAUSE_SECONDS)
        self._ages = CallAges(calls, 2 * self._pause)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="salience-watchdog", daemon=True)

    def start(self) -> None:
        """Watches from here on."""
        self._thread.start()

    def stop(self) -> None:
        """Watches no more; the thread ends by itself."""
        self._stopped.set()

    def join(self, timeout: float) -> None:
        """Waits for the thread to end, at most `timeout` seconds."""
        self._thread.join(timeout)

    def _watch(self) -> None:
        while not self._stopped.wait(self._pause):
            age, limit = self._ages.oldest(), self._limit()
            if age > limit:
                _log.critical(
                    "a call on a device has been running for %.1f s, the limit is %.1f s",
                    age,
                    limit,
                )
                self._on_stuck(age)
                return
