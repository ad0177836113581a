"""The clients, blocking and on asyncio: thin drivers over the same reading and writing."""

import math
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Self, Unpack

from salience.v1.explanation_service_pb2 import (
    DescribeModelRequest,
    ExplainRequest,
    ListModelsRequest,
)
from salience_client.errors import InvalidRequest
from salience_client.events import Event, Failed
from salience_client.explanation import Explanation
from salience_client.grpc_transport import (
    CHANNEL_OPTIONS,
    SHARED_OUT,
    AsyncGrpcTransport,
    GrpcTransport,
)
from salience_client.identity import AsyncToken, Options, Tls, Token
from salience_client.image import ImageLike
from salience_client.many import TaggedRequest
from salience_client.model import ModelDescription, ModelSummary, description_of, summaries_of
from salience_client.persistent import AsyncPersistent, Persistent
from salience_client.request import RequestOptions, explain_request
from salience_client.retries import ONCE, RetryPolicy
from salience_client.transport import AsyncTransport, Transport

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

DEFAULT_TIMEOUT = 60.0
"""Seconds a call may take where nothing else is said."""
DEFAULT_RETRIES = RetryPolicy()
_LONGEST_TIMEOUT = 30 * 365.25 * 86_400
"""Seconds. gRPC counts time in nanoseconds in 64 bits since 1970, which end in 2262: a deadline
after that has passed as soon as it is set."""


class Client:
    """Asks for explanations, blocking; safe from any thread.

    Every method raises `SalienceError`, and nothing of gRPC's; `OSError` where a file that you
    name cannot be read, a certificate among them.

        with Client("localhost:50051") as client:
            explanation = client.explain("cat.jpg", model="lite0", methods="score-cam")
            print(explanation.prediction.top[0].name, explanation["score-cam"].array)

    Args:
        server: its address HOST:PORT, or any name that gRPC resolves, or a transport, which then
            is all that is given.
        round_robin: whether calls are shared out among all servers that the name stands for, such
            as "dns:///salience.hospital.example:50051" or "ipv4:10.0.0.1:50051,10.0.0.2:50051",
            each as long as it says SERVING; else the first that answers has them all.
        tls: how the connection is encrypted; None = not at all.
        token: shows who calls; a function is asked anew for each call.
        timeout: seconds a call may take unless it says otherwise, whatever is asked again in
            them; beyond 30 years, such as math.inf, = no deadline.
        retries: what is asked again, and how often; None = nothing ever.
        tracer: OpenTelemetry's; makes a span of each call, and tells the server its trace.
    """

    def __init__(
        self,
        server: str | Transport,
        *,
        round_robin: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        tls: Tls | None = None,
        token: Token | None = None,
        retries: RetryPolicy | None = DEFAULT_RETRIES,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._transport = (
            GrpcTransport(server, tls, token, _options(round_robin), tracer)
            if isinstance(server, str)
            else server
        )
        self._timeout = timeout
        self._calls = Persistent(self._transport, retries or ONCE)

    def stream(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> Generator[Event]:
        """The events of one explanation as they come.

        The call begins when the first event is read; closing the generator cancels it. Where
        an answer breaks off and is begun anew, `Restarted` says so.

        Args:
            image: a file's bytes or path, pixels, the model's own input, or a DICOM file, which
                is answered with `Unsupported` so far.
            timeout: seconds for the whole answer; None = the client's.
            **options: see `RequestOptions`.

        Raises:
            InvalidRequest: at once, where something cannot be said.
            OSError: at once, where the image's path cannot be read.
            SalienceError: while reading.
        """
        return self._calls.events(explain_request(image, **options), self._seconds(timeout))

    def explain(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> Explanation:
        """The whole explanation; takes what `stream` takes, and asks for no partial maps.

        What is to come is asked for together, in as few messages as hold it.
        """
        request = _for_the_whole(image, options)
        return Explanation.of(self._calls.events(request, self._seconds(timeout)))

    def explain_many(
        self, requests: Iterable[TaggedRequest], *, timeout: float = math.inf
    ) -> Generator[tuple[str, Event | Failed]]:
        """Many explanations over one call: (tag, event) as they come, tags interleaved.

        One that fails ends with a `Failed` event; the others go on. Where the call breaks
        off, another is made on which only what is unanswered is asked; a request of which
        events were told begins anew, and `Restarted` says so.

        Args:
            requests: pairs of a tag, of 1 to 128 characters and unique among those in flight,
                and `explain_request(…)`; read once, from another thread, a window ahead of the
                answers.
            timeout: seconds for the whole call, which lasts as long as `requests` do.

        Raises:
            SalienceError: while reading, where the whole call failed.
        """
        return self._calls.many(requests, _seconds(timeout))

    def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Every version of every model served."""
        ask = self._transport.list_models
        answer = self._calls.call(ask, ListModelsRequest(), self._seconds(timeout))
        return summaries_of(answer)

    def describe(
        self, model: str, version: str = "", *, timeout: float | None = None
    ) -> ModelDescription:
        """All of one model; where no version is named, of the one that answers then."""
        request = DescribeModelRequest(model=model, version=version)
        ask = self._transport.describe_model
        answer = self._calls.call(ask, request, self._seconds(timeout))
        return description_of(answer)

    def close(self) -> None:
        """Cancels every call and lets go of the connection."""
        self._calls.close()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return _seconds(self._timeout if timeout is None else timeout)


class AsyncClient:
    """`Client` on asyncio: the same methods, to be awaited or read with `async for`.

    To be made and used in one event loop.

        async with AsyncClient("localhost:50051") as client:
            async for event in client.stream("cat.jpg", model="lite0", methods="poly-cam"):
                print(event)

    Args:
        server: its address HOST:PORT, or any name that gRPC resolves, or a transport, which then
            is all that is given.
        round_robin: whether calls are shared out among all servers that the name stands for, such
            as "dns:///salience.hospital.example:50051" or "ipv4:10.0.0.1:50051,10.0.0.2:50051",
            each as long as it says SERVING; else the first that answers has them all.
        tls: how the connection is encrypted; None = not at all.
        token: shows who calls; a function is asked anew for each call.
        timeout: seconds a call may take unless it says otherwise, whatever is asked again in
            them; beyond 30 years, such as math.inf, = no deadline.
        retries: what is asked again, and how often; None = nothing ever.
        tracer: OpenTelemetry's; makes a span of each call, and tells the server its trace.
    """

    def __init__(
        self,
        server: str | AsyncTransport,
        *,
        round_robin: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        tls: Tls | None = None,
        token: AsyncToken | None = None,
        retries: RetryPolicy | None = DEFAULT_RETRIES,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._transport = (
            AsyncGrpcTransport(server, tls, token, _options(round_robin), tracer)
            if isinstance(server, str)
            else server
        )
        self._timeout = timeout
        self._calls = AsyncPersistent(self._transport, retries or ONCE)

    def stream(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[Event]:
        """As `Client.stream`; `aclose()` cancels the call."""
        return self._calls.events(explain_request(image, **options), self._seconds(timeout))

    async def explain(
        self, image: ImageLike, *, timeout: float | None = None, **options: Unpack[RequestOptions]
    ) -> Explanation:
        """As `Client.explain`."""
        request = _for_the_whole(image, options)
        async with aclosing(self._calls.events(request, self._seconds(timeout))) as events:
            return Explanation.of([event async for event in events])

    def explain_many(
        self,
        requests: Iterable[TaggedRequest] | AsyncIterable[TaggedRequest],
        *,
        timeout: float = math.inf,
    ) -> AsyncGenerator[tuple[str, Event | Failed]]:
        """As `Client.explain_many`; `requests` may be asynchronous too."""
        return self._calls.many(requests, _seconds(timeout))

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """As `Client.models`."""
        ask = self._transport.list_models
        answer = await self._calls.call(ask, ListModelsRequest(), self._seconds(timeout))
        return summaries_of(answer)

    async def describe(
        self, model: str, version: str = "", *, timeout: float | None = None
    ) -> ModelDescription:
        """As `Client.describe`."""
        request = DescribeModelRequest(model=model, version=version)
        ask = self._transport.describe_model
        answer = await self._calls.call(ask, request, self._seconds(timeout))
        return description_of(answer)

    async def close(self) -> None:
        """Cancels every call and lets go of the connection."""
        self._calls.close()
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return _seconds(self._timeout if timeout is None else timeout)


def _for_the_whole(image: ImageLike, options: RequestOptions) -> ExplainRequest:
    """The request of a caller who sees nothing before its end."""
    options.setdefault("partial_maps", False)
    request = explain_request(image, **options)
    request.gather = request.no_partial_maps
    return request


def _options(round_robin: bool) -> Options:
    return (*CHANNEL_OPTIONS, *(SHARED_OUT if round_robin else ()))


def _seconds(timeout: float) -> float | None:
    """gRPC's word for "no deadline" is None, which a time beyond its clock's end means too.

    Raises:
        InvalidRequest: not above zero.
    """
    if not timeout > 0:
        raise InvalidRequest(f"timeout is {timeout}: give seconds above 0, or math.inf")
    return timeout if timeout <= _LONGEST_TIMEOUT else None
