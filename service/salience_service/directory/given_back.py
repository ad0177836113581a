"""What a retired model leaves in memory is given back to the system."""

import time
from weakref import ref

from salience_service.models.model import ServedModel
from salience_service.runtime.freed_pages import return_freed_pages

_LONGEST_SECONDS = 1.0
"""For its last frame, and the batch that a lane is at, to let go of it."""


def give_back(model: ref[ServedModel]) -> None:
    """Waits until a closed model is freed, then returns what it left."""
    until = time.monotonic() + _LONGEST_SECONDS
    while model() is not None and time.monotonic() < until:
        time.sleep(0.02)
    return_freed_pages()
