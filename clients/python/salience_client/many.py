"""Many answers over one call: which requests were sent, and what each has heard."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from salience.v1.explanation_service_pb2 import (
    ExplainManyRequest,
    ExplainManyResponse,
    ExplainRequest,
)
from salience_client.errors import BrokenAnswer, InvalidRequest, error_of_number
from salience_client.events import Event, Failed
from salience_client.reader import AnswerReader

TaggedRequest = tuple[str, ExplainRequest]


class Conversation:
    """Sends tagged requests and reads the answers, which interleave; it does no I/O.

    Requests may be read from another thread than answers: gRPC does so. An error that
    the caller's iterable raises there would be lost, so it is kept for `end`.
    """

    def __init__(self, requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest]) -> None:
        self._requests = requests
        self._open: dict[str, AnswerReader] = {}
        self._fault: Exception | None = None

    def messages(self) -> Iterator[ExplainManyRequest]:
        """The requests as messages; ends early where the caller's iterable fails."""
        assert isinstance(self._requests, Iterable)
        with self._keeping_faults():
            for tag, request in self._requests:
                yield self._message(tag, request)

    async def messages_async(self) -> AsyncIterator[ExplainManyRequest]:
        """The same from an iterable of either kind."""
        with self._keeping_faults():
            async for tag, request in _either(self._requests):
                yield self._message(tag, request)

    def read(self, message: ExplainManyResponse) -> Iterator[tuple[str, Event | Failed]]:
        """The tagged events that this message completes.

        Raises:
            BrokenAnswer: the message does not fit those before it.
        """
        if message.HasField("error"):
            self._open.pop(message.tag, None)
            error = error_of_number(message.error.code, message.error.message)
            yield message.tag, Failed(error)
            return
        reader = self._open.get(message.tag)
        if reader is None:
            raise BrokenAnswer(f"an answer came for {message.tag!r}, which is not in flight")
        for event in reader.read(message.response):
            if reader.finished:
                del self._open[message.tag]
            yield message.tag, event

    def end(self) -> None:
        """To be called after the last message.

        Raises:
            BrokenAnswer: a request has no whole answer.
            Exception: what the caller's iterable raised.
        """
        if self._fault is not None:
            raise self._fault
        if self._open:
            raise BrokenAnswer(f"no whole answer came for {', '.join(sorted(self._open))}")

    @contextmanager
    def _keeping_faults(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:  # carried to the reader's side, not swallowed
            self._fault = fault

    def _message(self, tag: str, request: ExplainRequest) -> ExplainManyRequest:
        if tag in self._open:
            raise InvalidRequest(f"tag {tag!r} is in flight already: give each request its own")
        self._open[tag] = AnswerReader()
        return ExplainManyRequest(tag=tag, request=request)


async def _either(
    requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
) -> AsyncIterator[TaggedRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
