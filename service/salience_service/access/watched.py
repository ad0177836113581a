"""What files say, read again when they change; what cannot be used leaves the last in force."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from salience_service.errors import ConfigRefused

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int, int] | None, ...]
AGAIN_SECONDS = 10.0
"""Between two readings of files that could not be used and did not change."""

_log = logging.getLogger(__name__)


class Watched(Generic[T]):
    """The last good reading of some files. Safe from any thread.

    Files are looked at (not read) each time their value is asked for, so that nothing runs
    beside and a change counts from the next call on.

    Args:
        what: how logs name it.
        paths: the files; links to them are followed.
        read: reads and checks them all.

    Raises:
        ConfigRefused: they cannot be used at the start.
    """

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._what, self._paths, self._read = what, tuple(paths), read
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._fault, self._failed_at = "", 0.0
        self._value = read()

    @property
    def value(self) -> T:
        """What the files say, or said before somebody broke them."""
        with self._lock:
            self._look()
            return self._value

    @property
    def stale(self) -> bool:
        """Whether the last reading failed, so that what they said before is still in force."""
        with self._lock:
            self._look()
            return bool(self._fault)

    def _look(self) -> None:
        # Taken before reading: what is written meanwhile is a change yet to be seen.
        stamp = self._stamp()
        if stamp != self._seen or self._is_due():
            self._seen = stamp
            self._renew()

    def _is_due(self) -> bool:
        """Whether what could not be used is to be tried again: a disk may have been busy, or a
        certificate's time may have come.
        """
        return bool(self._fault) and time.monotonic() - self._failed_at >= AGAIN_SECONDS

    def _renew(self) -> None:
        try:
            self._value = self._read()
        except ConfigRefused as error:
            if str(error) != self._fault:
                _log.error(
                    "%s changed and cannot be used; the last one stays: %s", self._what, error
                )
            self._fault, self._failed_at = str(error), time.monotonic()
        else:
            self._fault = ""
            _log.info("%s changed and was read again", self._what)

    def _stamp(self) -> _Stamp:
        return tuple(map(_state, self._paths))


def _state(path: Path) -> tuple[int, int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    # The last of them changes with owner and mode too.
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
