"""A log that nobody reads holds nobody back."""

import io
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from salience_service.telemetry.log_stream import MOST_LINES, LogStream


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, None, None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        yield read, stream
        threading.Thread(target=_emptied, args=(read,), daemon=True).start()


def _emptied(read: int) -> None:
    while os.read(read, 1 << 16):
        pass


def test_lines_are_written_in_order() -> None:
    stream = io.StringIO()
    log = LogStream(stream)
    for number in range(5):
        log.handle(line(str(number)))
    log.flush()
    assert stream.getvalue() == "0\n1\n2\n3\n4\n"


def test_a_log_that_is_not_read_loses_lines_and_says_so(
    pipe: tuple[int, io.TextIOWrapper],
) -> None:
    read, stream = pipe
    log = LogStream(stream)
    text = "x" * 100
    for _ in range(2 * MOST_LINES):  # 2 MB, where a pipe holds 64 KiB.
        log.handle(line(text))
    log.flush()  # Gives up after a second.
    told = b""
    while b"are lost: it was not read" not in told:
        told += os.read(read, 1 << 16)


def test_a_stream_that_is_closed_ends_nothing() -> None:
    stream = io.StringIO()
    log = LogStream(stream)
    stream.close()
    log.handle(line("one"))
    log.handle(line("two"))
    log.flush()
    assert not log._lines.unfinished_tasks
