"""A whole answer, collected: the prediction, and every map with its scores, rows and seconds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from salience_client.errors import BrokenAnswer
from salience_client.events import Event, Finished, Prediction, Restarted, Started
from salience_client.saliency_map import SaliencyMap, Scores

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Explanation:
    """A whole answer.

    `explanation["score-cam"]` is the map of a method; where there are several targets,
    `explanation["score-cam", "tabby"]` is the one of a target.

    Attributes:
        started: which model, version and provider answered.
        prediction: what the model says of the image.
        maps: every map, methods first, then targets, scores attached.
        finished: rows and seconds.
    """

    started: Started
    prediction: Prediction
    maps: tuple[SaliencyMap, ...]
    finished: Finished

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Explanation":
        """Collects the events of one answer; events of a stream may be seen on the way.

        Raises:
            BrokenAnswer: an event that every answer has is missing.
        """
        collected = _Collected()
        for event in events:
            if isinstance(event, Restarted):
                collected = _Collected()
            collected.add(event)
        return collected.explanation()

    def __getitem__(self, key: str | tuple[str, str]) -> SaliencyMap:
        method, target = key if isinstance(key, tuple) else (key, None)
        found = [
            map_
            for map_ in self.maps
            if map_.method == method and target in (None, map_.target.name)
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(f"[{m.method!r}, {m.target.name!r}]" for m in found or self.maps)
        problem = f"{len(found)} maps fit" if found else "no map fits"
        raise KeyError(f"{problem} {key!r}; there are {names}")

    @property
    def scores(self) -> tuple[Scores, ...]:
        """The scores of every map that was scored, in the order of the maps."""
        return tuple(map_.scores for map_ in self.maps if map_.scores is not None)


class _Collected:
    """The events of one answer so far; progress passes by."""

    def __init__(self) -> None:
        self._started: Started | None = None
        self._prediction: Prediction | None = None
        self._finished: Finished | None = None
        self._maps: dict[int, SaliencyMap] = {}
        self._scores: dict[int, Scores] = {}

    def add(self, event: Event) -> None:
        match event:
            case Started():
                self._started = event
            case Prediction():
                self._prediction = event
            case SaliencyMap():
                self._maps[event.map_id] = event
            case Scores():
                self._scores[event.map_id] = event
            case Finished():
                self._finished = event

    def explanation(self) -> Explanation:
        if self._started is None or self._prediction is None or self._finished is None:
            raise BrokenAnswer("the answer is not complete: an event is missing")
        maps = [self._complete(map_id, self._finished) for map_id in sorted(self._maps)]
        return Explanation(self._started, self._prediction, tuple(maps), self._finished)

    def _complete(self, map_id: int, finished: Finished) -> SaliencyMap:
        return replace(
            self._maps[map_id],
            scores=self._scores.get(map_id),
            rows=_at(finished.map_rows, map_id),
            seconds=_at(finished.map_seconds, map_id),
        )


def _at(values: tuple[T, ...], index: int) -> T | None:
    return values[index] if index < len(values) else None
