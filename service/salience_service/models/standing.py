"""How a model stands: batches of it that failed on the device, one after the other."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary, WeakSet

from salience_service.errors import ComputeFailed, Overloaded
from salience_service.models.model import ServedModel

_log = logging.getLogger(__name__)


class Standing:
    """Counts failures in a row, and has a model mended that has too many. Safe from any thread.

    Args:
        most: failures in a row, ≥ 1, that are one too many.
        mend: called in a thread of its own; of each model, one at a time. Told too whether it is
            the last attempt: the one before failed, and nothing was answered well since.
    """

    def __init__(self, most: int, mend: Callable[[ServedModel, bool], None]) -> None:
        self._most, self._mend = most, mend
        self._failed = WeakKeyDictionary[ServedModel, set[object]]()  # Retired ones are not held.
        self._mending: set[ServedModel] = set()
        self._unmended = WeakSet[ServedModel]()
        self._lock = threading.Lock()

    @contextmanager
    def told(self, model: ServedModel) -> Iterator[None]:
        """Watches one answer: its failure counts, and its good end forgets those before.

        Answers that shared a failed batch count as one failure; one that was refused, cancelled or
        late says nothing of the model.
        """
        try:
            yield
        except ComputeFailed as error:
            self._count(model, error)
            raise
        with self._lock:
            self._failed.pop(model, None)
            self._unmended.discard(model)

    def _count(self, model: ServedModel, error: ComputeFailed) -> None:
        with self._lock:
            if model in self._mending:
                return
            failed = self._failed.setdefault(model, set())
            failed.add(error.origin)
            if len(failed) < self._most:
                return
            del self._failed[model]
            self._mending.add(model)
        _log.error(
            "model %s %s failed %d times in a row: it is opened anew and checked",
            *(model.name, model.version, self._most),
        )
        name = f"salience-mend-{model.name}"
        threading.Thread(target=self._mended, args=(model,), name=name, daemon=True).start()

    def _mended(self, model: ServedModel) -> None:
        with self._lock:
            is_last = model in self._unmended
        try:
            self._mend(model, is_last)
        except Exception as error:
            if not isinstance(error, Overloaded):  # Else nothing was tried.
                with self._lock:
                    self._unmended.add(model)
            _log.exception("model %s %s could not be mended", model.name, model.version)
        finally:
            with self._lock:
                self._mending.discard(model)
