"""What is opened for the first who asks for it, while those who wait can be told and cancelled."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

from salience_service.errors import Cancelled, ComputeFailed, SalienceError, anew

K = TypeVar("K")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Openings(Generic[K, T]):
    """Owns what is open, by its key. Safe from any thread.

    Args:
        opener: where things are opened; of one thread: one by one.
        opened: opens one.
    """

    def __init__(self, opener: Executor, opened: Callable[[K], T]) -> None:
        self._opener = opener
        self._opened: Callable[[K], T] | None = opened
        self._known: dict[K, Future[T]] = {}
        self._lock = threading.Lock()

    def of(self, key: K) -> Future[T]:
        """The one of a key; one that failed to open is tried anew by the next who asks.

        Raises:
            Cancelled: they were closed.
        """
        with self._lock:
            if self._opened is None:
                raise Cancelled("the model was retired")
            known = self._known.get(key)
            if known is None or (known.done() and known.exception()):
                known = self._known[key] = self._opener.submit(_once, self._opened, key)
                known.add_done_callback(_told)
            return known

    def close(self) -> None:
        """Lets go of what is open, and of who opens: what they hold can then be freed at once."""
        with self._lock:
            self._known.clear()
            self._opened = None


def _once(opened: Callable[[K], T], key: K) -> T:
    """Opens it; what fails is one failure, however many wait for it."""
    try:
        return opened(key)
    except SalienceError:
        raise
    except Exception as error:
        raise ComputeFailed("a part of the model could not be opened") from error


def opened(opening: Future[T]) -> T:
    """What was opened, of one that is done.

    Raises:
        Cancelled: it was given up, because the server ends.
        SalienceError: it could not be; for each who waited an error of their own.
    """
    if opening.cancelled():
        raise Cancelled("the server ended first")
    failure = opening.exception()
    if isinstance(failure, SalienceError):
        raise anew(failure)
    if failure is not None:
        raise ComputeFailed("a part of the model could not be opened")
    return opening.result()


def _told(opening: Future[T]) -> None:
    """The log has why something could not be opened, which callers are not told."""
    failure = None if opening.cancelled() else opening.exception()
    if failure is not None and not isinstance(failure, Cancelled):
        _log.error("a graph or program could not be opened", exc_info=failure.__cause__ or failure)
