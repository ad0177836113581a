"""The end of a process that cannot end by itself: what was said is written out, then it is over."""

import logging
import os
import sys
import threading
from typing import NoReturn

EXIT_SLACK_SECONDS = 5.0
"""Beyond the drain time: final statuses, threads that end with their batch, logs."""
_FLUSH_SECONDS = 2.0
"""For logs: a disk or a pipe that does not take them holds nobody up."""

_log = logging.getLogger(__name__)


def end_at_once(code: int) -> NoReturn:
    """Ends the process, whatever its threads do; its logs are written out first.

    The audit needs no word: each of its lines is with the system once it is written.
    """
    writing = threading.Thread(target=_write_out, daemon=True)
    writing.start()
    writing.join(_FLUSH_SECONDS)
    os._exit(code)


def end_within(seconds: float, code: int) -> None:
    """Ends the process after `seconds`, unless it has ended by then.

    It holds even when the interpreter waits for threads that do not end.
    """

    def end() -> None:
        _log.error("something did not end within %.1f s: the process ends without it", seconds)
        end_at_once(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _write_out() -> None:
    logging.shutdown()  # It minds no error of a handler.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
