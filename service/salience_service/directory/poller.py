"""Looks again every so often, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Poller:
    """Calls `look` until it is closed; a look that fails is logged, and the next one comes.

    Args:
        look: takes as long as it takes; the next one begins `seconds` after it.
        seconds: between two looks; 0 = never.
    """

    def __init__(self, look: Callable[[], None], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """The first look comes `seconds` from now."""
        if self._seconds:
            self._thread = threading.Thread(target=self._run, name="salience-poll", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Waits for the look that runs."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            try:
                self._look()
            except Exception:
                _log.exception("the models directory could not be looked at")
