"""What must be freed at once, by its last holder and not by the collector."""

import gc
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.waiting import SOON_SECONDS


@contextmanager
def without_the_collector() -> Iterator[None]:
    """Rings made in the block stay."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_freed(kept: weakref.ref[object]) -> bool:
    """Whether nobody holds it any more, or soon."""
    until = time.monotonic() + SOON_SECONDS
    while kept() is not None and time.monotonic() < until:
        time.sleep(0.01)
    return kept() is None
