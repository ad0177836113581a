"""The word to stop holds in a process that gets no more threads, as at a container's limit."""

import subprocess
import sys

from tests.support.waiting import SOON_SECONDS

NO_MORE_THREADS = """
import asyncio, os, signal, threading
from salience_service.life import process_end, stop_word

def no_more_threads():
    threading.Thread.start = refuse

def refuse(thread):
    raise RuntimeError("can't start new thread")

def tell():
    os.kill(os.getpid(), signal.SIGTERM)
"""
"""What CPython says, and when, where the system gives it no thread."""


def ended(script: str) -> tuple[int, str]:
    """The exit code of a process of its own, and what it said on stdout."""
    done = subprocess.run(
        [sys.executable, "-c", NO_MORE_THREADS + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=SOON_SECONDS,
    )
    return done.returncode, done.stdout


def test_the_word_is_heard_where_no_thread_can_be_started_and_a_second_ends_the_process() -> None:
    script = """
async def main():
    stop = stop_word.StopWord(600.0)
    no_more_threads()
    tell()
    await stop.heard()
    print("heard", flush=True)
    tell()
    await asyncio.Event().wait()

asyncio.run(main())
"""
    assert ended(script) == (143, "heard\n")


def test_the_process_ends_at_its_hour_where_no_thread_can_be_started() -> None:
    script = """
told = threading.Event()
process_end.end_within(0.01, 0, told)
no_more_threads()
told.set()
threading.Event().wait()
"""
    assert ended(script)[0] == 0


def test_a_server_that_does_not_serve_yet_ends_where_no_thread_can_be_started() -> None:
    script = """
stop_word.leave_when_told()
no_more_threads()
tell()
threading.Event().wait()
"""
    assert ended(script)[0] == 0
