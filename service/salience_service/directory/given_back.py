"""What a retired model leaves in memory is given back to the system."""

import ctypes
import time
from collections.abc import Callable
from weakref import ref

from salience_service.models.model import ServedModel

_LONGEST_SECONDS = 1.0
"""For its last frame, and the batch that a lane is at, to let go of it."""


def give_back(model: ref[ServedModel]) -> None:
    """Waits until a closed model is freed, then has the C library return what it left.

    glibc keeps freed pages for itself: of EfficientNet-Lite0, loaded anew under load, 690 MiB
    stayed resident where 385 MiB were in use.
    """
    until = time.monotonic() + _LONGEST_SECONDS
    while model() is not None and time.monotonic() < until:
        time.sleep(0.02)
    _trim()


def _trim() -> None:
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # Only glibc has it.
        trim(0)
