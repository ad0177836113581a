"""A log that holds nobody back: lines wait in a bounded queue, and a thread of its own writes them.

A pipe that nobody empties takes 64 KiB and then blocks who writes to it: an explanation that logs
would wait there for ever, and after it every other.
"""

import io
import logging
import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TextIO

MOST_LINES = 10_000
"""Lines that wait; what comes then is left out, and counted."""
LAST_WORDS_SECONDS = 1.0
"""How long a process that ends waits for its last lines to be written."""


class LogStream(logging.Handler):
    """Writes to a stream, some time. Safe from any thread; `emit` never waits.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._put = _writer(stream)
        self._lines: queue.Queue[str] = queue.Queue(MOST_LINES)
        self._lost = 0
        threading.Thread(target=self._write, name="salience-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a line, or leaves it out where too many wait."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1

    def flush(self) -> None:
        """Waits until all is written, or a second."""
        done = self._lines.all_tasks_done
        with done:
            done.wait_for(lambda: not self._lines.unfinished_tasks, LAST_WORDS_SECONDS)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            lost, self._lost = self._lost, 0
            try:
                if lost:
                    self._put(f"{lost} lines of the log are lost: it was not read\n")
                self._put(f"{line}\n")
            except (OSError, ValueError):  # The reader went; the server goes on.
                pass
            self._lines.task_done()


def _writer(stream: TextIO) -> Callable[[str], object]:
    """Writes to a stream's file past its buffer, whose lock would keep the process from ending."""
    try:
        return partial(_write_to, stream.fileno())
    except io.UnsupportedOperation:  # It is in memory.
        return stream.write


def _write_to(file: int, text: str) -> None:
    os.write(file, text.encode("utf-8", "backslashreplace"))
