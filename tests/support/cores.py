"""Where the calling thread runs, on Linux."""

import os
from pathlib import Path


def start_on_last_core() -> None:
    """Brings the calling thread to the last of its cores; the kernel may move it at any moment."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    os.sched_setaffinity(0, allowed)


def current_core() -> int:
    """The 39th word of the calling thread's line, see proc_pid_stat(5)."""
    after_name = Path("/proc/thread-self/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[36])
