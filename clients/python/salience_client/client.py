"""The clients, blocking and on asyncio: thin drivers over the same reading and writing."""

import math
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import aclosing, closing
from typing import Self, Unpack

from salience.v1.explanation_service_pb2 import (
    DescribeModelRequest,
    ExplainRequest,
    ListModelsRequest,
)
from salience_client.errors import InvalidRequest
from salience_client.events import Event, Failed
from salience_client.explanation import Explanation
from salience_client.grpc_transport import AsyncGrpcTransport, GrpcTransport
from salience_client.image import ImageLike
from salience_client.many import Conversation, TaggedRequest
from salience_client.model import ModelDescription, ModelSummary, description_of, summaries_of
from salience_client.reader import AnswerReader
from salience_client.request import RequestOptions, explain_request
from salience_client.transport import AsyncTransport, Transport

DEFAULT_TIMEOUT = 60.0
"""Seconds a call may take where nothing else is said."""


class Client:
    """Asks for explanations, blocking; safe from any thread.

    Every method raises `SalienceError`, and nothing of gRPC's.

        with Client("localhost:50051") as client:
            explanation = client.explain("cat.jpg", model="lite0", methods="score-cam")
            print(explanation.prediction.top[0].name, explanation["score-cam"].array)

    Args:
        server: its address HOST:PORT, or a transport.
        timeout: seconds a call may take unless it says otherwise; math.inf = no deadline.
    """

    def __init__(self, server: str | Transport, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._transport = GrpcTransport(server) if isinstance(server, str) else server
        self._timeout = timeout

    def stream(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> Generator[Event]:
        """The events of one explanation as they come.

        The call begins when the first event is read; closing the generator cancels it.

        Args:
            image: a file's bytes or path, pixels, the model's own input, or a DICOM file.
            timeout: seconds for the whole answer; None = the client's.
            **options: see `RequestOptions`.

        Raises:
            InvalidRequest: at once, where something cannot be said.
            OSError: at once, where the image's path cannot be read.
            SalienceError: while reading.
        """
        return self._events(explain_request(image, **options), self._deadline(timeout))

    def explain(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> Explanation:
        """The whole explanation; takes what `stream` takes, and asks for no partial maps."""
        options.setdefault("partial_maps", False)
        return Explanation.of(self.stream(image, timeout=timeout, **options))

    def explain_many(
        self, requests: Iterable[TaggedRequest], *, timeout: float = math.inf
    ) -> Generator[tuple[str, Event | Failed]]:
        """Many explanations over one call: (tag, event) as they come, tags interleaved.

        One that fails ends with a `Failed` event; the others go on.

        Args:
            requests: pairs of a tag, unique among those in flight, and `explain_request(…)`;
                read from another thread, as fast as the server takes them.
            timeout: seconds for the whole call, which lasts as long as `requests` do.

        Raises:
            SalienceError: while reading, where the whole call failed.
        """
        conversation = Conversation(requests)
        messages = conversation.messages()
        with closing(self._transport.explain_many(messages, self._deadline(timeout))) as answers:
            for message in answers:
                yield from conversation.read(message)
        conversation.end()

    def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Every version of every model served."""
        answer = self._transport.list_models(ListModelsRequest(), self._deadline(timeout))
        return summaries_of(answer)

    def describe(
        self, model: str, version: str = "", *, timeout: float | None = None
    ) -> ModelDescription:
        """All of one model; the newest version where none is named."""
        request = DescribeModelRequest(model=model, version=version)
        answer = self._transport.describe_model(request, self._deadline(timeout))
        return description_of(answer)

    def close(self) -> None:
        """Cancels every call and lets go of the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _events(self, request: ExplainRequest, deadline: float | None) -> Generator[Event]:
        reader = AnswerReader()
        with closing(self._transport.explain(request, deadline)) as answer:
            for message in answer:
                yield from reader.read(message)
        reader.end()

    def _deadline(self, timeout: float | None) -> float | None:
        return _deadline(self._timeout if timeout is None else timeout)


class AsyncClient:
    """`Client` on asyncio: the same methods, to be awaited or read with `async for`.

    To be made and used in one event loop.

        async with AsyncClient("localhost:50051") as client:
            async for event in client.stream("cat.jpg", model="lite0", methods="poly-cam"):
                print(event)

    Args:
        server: its address HOST:PORT, or a transport.
        timeout: seconds a call may take unless it says otherwise; math.inf = no deadline.
    """

    def __init__(self, server: str | AsyncTransport, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._transport = AsyncGrpcTransport(server) if isinstance(server, str) else server
        self._timeout = timeout

    def stream(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[Event]:
        """As `Client.stream`; `aclose()` cancels the call."""
        return self._events(explain_request(image, **options), self._deadline(timeout))

    async def explain(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> Explanation:
        """As `Client.explain`."""
        options.setdefault("partial_maps", False)
        async with aclosing(self.stream(image, timeout=timeout, **options)) as events:
            return Explanation.of([event async for event in events])

    async def explain_many(
        self,
        requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
        *,
        timeout: float = math.inf,
    ) -> AsyncGenerator[tuple[str, Event | Failed]]:
        """As `Client.explain_many`; `requests` may be asynchronous too."""
        conversation = Conversation(requests)
        messages = conversation.messages_async()
        async with aclosing(
            self._transport.explain_many(messages, self._deadline(timeout))
        ) as answers:
            async for message in answers:
                for tagged in conversation.read(message):
                    yield tagged
        conversation.end()

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """As `Client.models`."""
        answer = await self._transport.list_models(ListModelsRequest(), self._deadline(timeout))
        return summaries_of(answer)

    async def describe(
        self, model: str, version: str = "", *, timeout: float | None = None
    ) -> ModelDescription:
        """As `Client.describe`."""
        request = DescribeModelRequest(model=model, version=version)
        answer = await self._transport.describe_model(request, self._deadline(timeout))
        return description_of(answer)

    async def close(self) -> None:
        """Cancels every call and lets go of the connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _events(
        self, request: ExplainRequest, deadline: float | None
    ) -> AsyncGenerator[Event]:
        reader = AnswerReader()
        async with aclosing(self._transport.explain(request, deadline)) as answer:
            async for message in answer:
                for event in reader.read(message):
                    yield event
        reader.end()

    def _deadline(self, timeout: float | None) -> float | None:
        return _deadline(self._timeout if timeout is None else timeout)


def _deadline(timeout: float) -> float | None:
    """gRPC's word for "no deadline" is None.

    Raises:
        InvalidRequest: not above zero.
    """
    if not timeout > 0:
        raise InvalidRequest(f"timeout is {timeout}: give seconds above 0, or math.inf")
    return None if math.isinf(timeout) else timeout
