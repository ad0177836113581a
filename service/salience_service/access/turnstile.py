"""The turnstile: how many things run at a time, in all and of one client."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from salience_service.access.client import Client
from salience_service.errors import Overloaded

_ANY = 2**63


class Turnstile:
    """Owns the count of what runs; refuses what would go beyond. Safe from any thread.

    Nothing waits here: who is refused comes again. Clients of whom nothing runs are forgotten.

    Args:
        what: that is counted, as messages name it. most: at a time, ≥ 1.
        most_each: of one client at a time, ≥ 1.
    """

    def __init__(self, what: str, most: int = _ANY, most_each: int = _ANY) -> None:
        self._what, self._most, self._most_each = what, most, most_each
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, client: Client) -> None:
        """Counts one more; who enters leaves, exactly once.

        Raises:
            Overloaded: as many as may run do, in all or of this client.
        """
        with self._lock:
            running, own = self._running.total(), self._running[client.key]
            if running >= self._most:
                raise Overloaded(f"{running} {self._what} are running, the limit; try again later")
            if own >= self._most_each:
                raise Overloaded(
                    f"{own} {self._what} of {client.name} are running, the limit for one client; "
                    "wait until one has ended"
                )
            self._running[client.key] += 1

    def leave(self, client: Client) -> None:
        """Counts one less."""
        with self._lock:
            self._running[client.key] -= 1
            if not self._running[client.key]:
                del self._running[client.key]

    @contextmanager
    def entered(self, client: Client) -> Iterator[None]:
        """Counts one while the block lasts.

        Raises:
            Overloaded: as `enter`.
        """
        self.enter(client)
        try:
            yield
        finally:
            self.leave(client)

    @property
    def clients(self) -> int:
        """Of how many something runs."""
        with self._lock:
            return len(self._running)
