"""The end of a process that cannot end by itself: what was said is written out, then it is over."""

import logging
import os
import sys
import threading
import time
from typing import NoReturn

EXIT_SLACK_SECONDS = 5.0
"""Beyond the drain time: final statuses, threads that end with their batch, logs."""
_FLUSH_SECONDS = 2.0
"""For logs: a disk or a pipe that does not take them holds nobody up."""

_log = logging.getLogger(__name__)


def end_at_once(code: int) -> NoReturn:
    """Ends the process, whatever its threads do; its logs are written out first.

    Where no thread can be started for them, the process ends without its last lines. The audit
    needs no word: each of its lines is with the system once it is written.
    """
    try:
        writing = threading.Thread(target=_write_out, daemon=True)
        writing.start()
        writing.join(_FLUSH_SECONDS)
    finally:
        os._exit(code)


def end_within(seconds: float, code: int, told: threading.Event) -> None:
    """Ends the process `seconds` after `told` is set, unless it has ended by then.

    It holds even when the interpreter waits for threads that do not end, and when no more
    threads can be started once it is told: its own is started here.
    """

    def end() -> None:
        told.wait()
        time.sleep(seconds)
        _log.error("something did not end within %.1f s: the process ends without it", seconds)
        end_at_once(code)

    threading.Thread(target=end, name="salience-end", daemon=True).start()


def _write_out() -> None:
    logging.shutdown()  # It minds no error of a handler.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
