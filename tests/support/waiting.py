"""Waiting in tests for what happens in other threads: as long as it takes, within reason."""

import time
from collections.abc import Callable

SOON_SECONDS = 240.0
"""How long what comes at once is waited for: a bound on what never comes, so as long as leaves a
failed test its own words before pytest's limit of 300 s ends it."""


def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds; what never does fails the test."""
    late = time.monotonic() + SOON_SECONDS
    while not holds():
        assert time.monotonic() < late, "it never came to be so"
        time.sleep(0.005)
