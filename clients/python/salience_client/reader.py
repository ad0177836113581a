"""Reads an answer: folds messages into typed events, and pieces of large maps into whole maps."""

from collections.abc import Callable, Iterator
from typing import Any

from salience.v1 import explanation_service_pb2 as wire
from salience.v1 import map_pb2
from salience_client import events
from salience_client.decode import (
    finished_of,
    partial_map_of,
    prediction_of,
    progress_of,
    saliency_map_of,
    scores_of,
    started_of,
)
from salience_client.errors import BrokenAnswer

LARGEST_MAP_BYTES = 1 << 30
"""A map above this size is refused, however it is sent."""

_WHOLE: dict[str | None, Callable[[Any], events.Event]] = {
    "started": started_of,
    "prediction": prediction_of,
    "progress": progress_of,
    "partial_map": partial_map_of,
    "scores": scores_of,
    "finished": finished_of,
}


class AnswerReader:
    """Feed it every message of one answer, in order; it does no I/O.

    Events come out in the order of the wire; a map that travels in pieces comes out with
    its last piece.

    Attributes:
        finished: whether the last event of the answer was read.
    """

    def __init__(self) -> None:
        self._head: map_pb2.SaliencyMap | None = None
        self._data = bytearray()
        self.finished = False

    def read(self, message: wire.ExplainResponse) -> Iterator[events.Event]:
        """The events that this message completes: none, one, or all that are gathered in it.

        Raises:
            BrokenAnswer: the message does not fit those before it.
        """
        if message.HasField("gathered"):
            for event in message.gathered.events:
                if event.HasField("gathered"):
                    raise BrokenAnswer("the answer gathers events within events")
                yield from self._read(event)
        else:
            yield from self._read(message)

    def _read(self, message: wire.ExplainResponse) -> Iterator[events.Event]:
        """The event of a message that holds one, if it is complete with it."""
        if self.finished:
            raise BrokenAnswer("the answer went on after its end")
        kind = message.WhichOneof("event")
        if self._head is not None and kind != "map_chunk":
            raise BrokenAnswer(f"map {self._head.map_id} broke off: {self._missing()}")
        self.finished = kind == "finished"
        if kind in _WHOLE:
            yield _WHOLE[kind](getattr(message, kind))
        elif kind == "map":
            yield from self._begin(message.map)
        elif kind == "map_chunk":
            yield from self._continue(message.map_chunk)
        # Any other event is one that only newer clients know.

    def end(self) -> None:
        """To be called after the last message.

        Raises:
            BrokenAnswer: the answer stopped before its end.
        """
        if not self.finished:
            raise BrokenAnswer("the answer stopped before its end; try again")

    def _begin(self, head: map_pb2.SaliencyMap) -> Iterator[events.Event]:
        if head.total_bytes > LARGEST_MAP_BYTES:
            raise BrokenAnswer(
                f"map {head.map_id} has {head.total_bytes} bytes; at most "
                f"{LARGEST_MAP_BYTES} are read: ask for geometry 'input'"
            )
        data = head.data
        if len(data) == head.total_bytes:  # As most are: nothing is copied.
            yield saliency_map_of(head, data)
        else:
            self._head, self._data = head, bytearray(data)
            self._check_length(head)

    def _continue(self, chunk: map_pb2.MapChunk) -> Iterator[events.Event]:
        head = self._head
        if head is None or (chunk.map_id, chunk.offset) != (head.map_id, len(self._data)):
            raise BrokenAnswer(f"a piece of map {chunk.map_id} is out of place")
        self._data += chunk.data
        self._check_length(head)
        if len(self._data) == head.total_bytes:
            self._head = None
            yield saliency_map_of(head, bytes(self._data))

    def _check_length(self, head: map_pb2.SaliencyMap) -> None:
        if len(self._data) > head.total_bytes:
            raise BrokenAnswer(f"map {head.map_id} is longer than announced: {self._missing()}")

    def _missing(self) -> str:
        total = self._head.total_bytes if self._head is not None else 0
        return f"{len(self._data)} of {total} bytes came"
