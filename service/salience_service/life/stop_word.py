"""SIGTERM and SIGINT of a serving process: the first asks it to stop, the second ends it."""

import asyncio
import logging
import signal
import threading

from salience_service.life.exit_codes import HURRIED, STOPPED
from salience_service.life.process_end import EXIT_SLACK_SECONDS, end_at_once, end_within

_log = logging.getLogger(__name__)


def leave_when_told() -> None:
    """Until there is a `StopWord`, SIGTERM ends the process at once: nothing is served yet.

    Without it the first process of a container would not hear the word: the kernel hands it no
    signal that it has no handler for. From the main thread.
    """
    signal.signal(signal.SIGTERM, lambda *_: end_at_once(STOPPED))


class StopWord:
    """Listens from its making on; made on the event loop of the process's main thread.

    Once told, the process ends within `drain_seconds` and `EXIT_SLACK_SECONDS`, with code 0,
    even if a native call never returns. What does it is there before the word: at a thread limit
    nothing more could be started for it.

    Args:
        drain_seconds: how long what runs may still take.
    """

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._told = asyncio.Event()
        self._ending = threading.Event()
        end_within(drain_seconds + EXIT_SLACK_SECONDS, STOPPED, self._ending)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._hear, number)

    async def heard(self) -> None:
        """Waits for the word."""
        await self._told.wait()

    def _hear(self, number: signal.Signals) -> None:
        if self._told.is_set():
            _log.warning("%s again: the process ends at once", number.name)
            end_at_once(HURRIED)
        self._ending.set()
        self._told.set()
        _log.info("%s: the server stops within %.1f s", number.name, self._drain_seconds)
