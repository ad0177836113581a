"""Waiting in tests for what happens in other threads: as long as it takes, within reason."""

import time
from collections.abc import Callable

LONGEST_SECONDS = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds; what never does fails the test."""
    late = time.monotonic() + LONGEST_SECONDS
    while not holds():
        assert time.monotonic() < late, "it never came to be so"
        time.sleep(0.005)
