"""The cache of finished explanations: in memory alone, bounded in bytes, the oldest use goes first.

It holds what was answered, and of what was asked no more than a digest: no image. Two
orders that are alike and run at the same time both run, and the later answer stays.
"""

import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
from cachetools import LRUCache

from salience_service.events import Event, Finished, FinishedMap, MapScores, Prediction
from salience_service.explanation.answer_key import AnswerKey

Lasting = Prediction | FinishedMap | MapScores | Finished
"""The events of an answer that tell the same whenever they come."""
ENTRY_BYTES = 1024
"""Of an entry itself: its key, and its places in the cache's tables."""


@dataclass(frozen=True)
class Answer:
    """A finished explanation, without its beginning and what was told on the way.

    Attributes:
        events: in their order. size: bytes that they take.
    """

    events: tuple[Lasting, ...]
    size: int


class ExplanationCache:
    """Keeps answers by their keys. Safe from any thread.

    Args:
        most_bytes: of all answers together, ≥ 1; an answer that is larger is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._asked = self._found = 0
        self._answers: LRUCache[AnswerKey, Answer] = LRUCache(most_bytes, lambda each: each.size)
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Of all answers kept now."""
        with self._lock:
            return int(self._answers.currsize)

    @property
    def count(self) -> int:
        """Answers kept now."""
        with self._lock:
            return len(self._answers)

    @property
    def lookups(self) -> tuple[int, int]:
        """How often an answer was looked for, and how often one was there."""
        with self._lock:
            return self._asked, self._found

    def find(self, key: AnswerKey) -> Answer | None:
        """The answer kept under a key, which is then the one used last."""
        with self._lock:
            answer = self._answers.get(key)
            self._asked += 1
            self._found += answer is not None
            return answer

    def kept(
        self, key: AnswerKey, events: Generator[Event, None, None]
    ) -> Generator[Event, None, None]:
        """Passes the events of an answer on; once it is complete, it is kept.

        An answer that fails, or whose reader leaves before its end, is not.
        """
        lasting: list[Lasting] = []
        size = ENTRY_BYTES
        with closing(events):
            for event in events:
                if isinstance(event, Lasting) and size <= self.most_bytes:
                    lasting.append(event)
                    size += _bytes_of(event)
                if isinstance(event, Finished):
                    self._keep(key, Answer(tuple(lasting), size))
                yield event

    def forget(self, bundle_digest: str) -> None:
        """Drops the answers of a model that is served no more."""
        with self._lock:
            for key in [key for key in self._answers if key.bundle_digest == bundle_digest]:
                del self._answers[key]

    def _keep(self, key: AnswerKey, answer: Answer) -> None:
        with self._lock:
            if answer.size <= self.most_bytes:
                self._answers[key] = answer


def _bytes_of(value: object) -> int:
    """Bytes of a value and all it holds; what it shares with others counts in full."""
    own = sys.getsizeof(value)
    if isinstance(value, np.ndarray):
        return own if value.base is None else own + value.nbytes
    if isinstance(value, Mapping):
        return own + sum(_bytes_of(key) + _bytes_of(each) for key, each in value.items())
    if isinstance(value, tuple | list):
        return own + sum(map(_bytes_of, value))
    if is_dataclass(value) and not isinstance(value, type):
        attributes = sys.getsizeof(dict(vars(value)))  # A copy: shared keys would vary its size.
        return own + attributes + sum(_bytes_of(getattr(value, f.name)) for f in fields(value))
    return own
