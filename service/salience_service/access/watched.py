"""What files say, read again when they change; what cannot be used leaves the last in force."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from salience_service.errors import ConfigRefused

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int] | None, ...]

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
        self._value = read()

    @property
    def value(self) -> T:
        """What the files say, or said before somebody broke them."""
        with self._lock:
            # Taken before reading: what is written meanwhile is a change yet to be seen.
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._renew()
            return self._value

    def _renew(self) -> None:
        try:
            self._value = self._read()
        except ConfigRefused as error:
            _log.error("%s changed and cannot be used; the last one stays: %s", self._what, error)
        else:
            _log.info("%s changed and was read again", self._what)

    def _stamp(self) -> _Stamp:
        return tuple(map(_look, self._paths))


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
