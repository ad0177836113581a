"""Carries messages over gRPC, blocking or on asyncio."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from salience.v1.explanation_service_pb2 import (
    DescribeModelRequest,
    DescribeModelResponse,
    ExplainManyRequest,
    ExplainManyResponse,
    ExplainRequest,
    ExplainResponse,
    ListModelsRequest,
    ListModelsResponse,
)
from salience.v1.explanation_service_pb2_grpc import ExplanationServiceStub
from salience_client.call_error import error_of_call, translated_call
from salience_client.errors import CLOSED, LATE, Cancelled, DeadlineExceeded
from salience_client.identity import (
    AsyncToken,
    Options,
    Tls,
    Token,
    bearer,
    bearer_async,
    open_channel,
    open_channel_async,
)
from salience_client.retries import Deadline

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

# Maps above 1 MiB come in pieces, so gRPC's own limit of 4 MB a message stands.
CHANNEL_OPTIONS: Options = (
    # Pings find a connection whose other end vanished without a word, within 25 seconds, also
    # where an answer is long in coming; our server allows one every 10 seconds. It is the
    # last that counts in gRPC 1.85, which by itself waits a minute for a ping's answer.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that came back is found within 2 seconds; gRPC's own bound is 2 minutes. "Min"
    # is how long one attempt to connect may take.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Not SingleThreadedUnaryStream, though it is half a millisecond faster: a call that is left
    # half-way then keeps its connection for ever.
)
# Each call goes to the next of the addresses whose server says that it is SERVING: one that drains
# is left before it refuses anything. grpc.health.v1 answers that without a credential.
SHARED_OUT: Options = (
    (
        "grpc.service_config",
        json.dumps(
            {
                "loadBalancingConfig": [{"round_robin": {}}],
                "healthCheckConfig": {"serviceName": ""},
            }
        ),
    ),
)


class GrpcTransport:
    """A channel to a server, for `Client`; safe from any thread.

    Args:
        address: HOST:PORT, or any name that gRPC resolves.
        tls: how the connection is encrypted; None = not at all.
        token: shows who calls; a function is asked anew for each call, in the time of that call.
        options: gRPC's, of the channel.
        tracer: OpenTelemetry's; makes a span of each call, and tells the server its trace.

    Raises:
        InvalidRequest: a token would go to another machine unencrypted.
        OSError: a file of `tls` cannot be read.
    """

    def __init__(
        self,
        address: str,
        tls: Tls | None = None,
        token: Token | None = None,
        options: Options = CHANNEL_OPTIONS,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._token = token
        self._closed = False
        self._channel = open_channel(address, tls, token, options)
        self._stub = _stub(self._channel, tracer)

    def explain(self, request: ExplainRequest, timeout: float | None) -> Generator[ExplainResponse]:
        """The call begins when the first message is read."""
        with self._translated():
            call = self._stub.Explain(request, **_terms(self._token, timeout))
            try:
                yield from call
            finally:
                call.cancel()

    def explain_many(
        self, requests: Iterable[ExplainManyRequest], timeout: float | None
    ) -> Generator[ExplainManyResponse]:
        """The call begins when the first message is read; a thread of gRPC's reads `requests`."""
        with self._translated():
            call = self._stub.ExplainMany(iter(requests), **_terms(self._token, timeout))
            try:
                yield from call
            finally:
                call.cancel()

    def list_models(self, request: ListModelsRequest, timeout: float | None) -> ListModelsResponse:
        """Lists the models served."""
        with self._translated():
            response: ListModelsResponse = self._stub.ListModels(
                request, **_terms(self._token, timeout)
            )
            return response

    def describe_model(
        self, request: DescribeModelRequest, timeout: float | None
    ) -> DescribeModelResponse:
        """Says all of one model."""
        with self._translated():
            response: DescribeModelResponse = self._stub.DescribeModel(
                request, **_terms(self._token, timeout)
            )
            return response

    def close(self) -> None:
        """Cancels every call and closes the channel."""
        self._closed = True
        self._channel.close()

    def _translated(self) -> AbstractContextManager[None]:
        return translated_call(lambda: self._closed)


class AsyncGrpcTransport:
    """A channel to a server, for `AsyncClient`; to be made and used in one event loop.

    Args:
        address: HOST:PORT, or any name that gRPC resolves.
        tls: how the connection is encrypted; None = not at all.
        token: shows who calls; a function is asked anew for each call, in the time of that call.
        options: gRPC's, of the channel.
        tracer: OpenTelemetry's; makes a span of each call, and tells the server its trace.

    Raises:
        InvalidRequest: a token would go to another machine unencrypted.
        OSError: a file of `tls` cannot be read.
    """

    def __init__(
        self,
        address: str,
        tls: Tls | None = None,
        token: AsyncToken | None = None,
        options: Options = CHANNEL_OPTIONS,
        tracer: "Tracer | None" = None,
    ) -> None:
        self._token = token
        self._closed = False
        self._channel = open_channel_async(address, tls, token, options)
        self._stub = _stub(self._channel, tracer)

    async def explain(
        self, request: ExplainRequest, timeout: float | None
    ) -> AsyncGenerator[ExplainResponse]:
        """The call begins when the first message is read."""
        with self._translated():
            call = self._stub.Explain(request, **await _terms_async(self._token, timeout))
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def explain_many(
        self, requests: AsyncIterable[ExplainManyRequest], timeout: float | None
    ) -> AsyncGenerator[ExplainManyResponse]:
        """The call begins when the first message is read; a task of gRPC's reads `requests`."""
        with self._translated():
            call = self._stub.ExplainMany(requests, **await _terms_async(self._token, timeout))
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def list_models(
        self, request: ListModelsRequest, timeout: float | None
    ) -> ListModelsResponse:
        """Lists the models served."""
        with self._translated():
            response: ListModelsResponse = await self._stub.ListModels(
                request, **await _terms_async(self._token, timeout)
            )
            return response

    async def describe_model(
        self, request: DescribeModelRequest, timeout: float | None
    ) -> DescribeModelResponse:
        """Says all of one model."""
        with self._translated():
            call = self._stub.DescribeModel(request, **await _terms_async(self._token, timeout))
            response: DescribeModelResponse = await call
            return response

    async def close(self) -> None:
        """Cancels every call and closes the channel."""
        self._closed = True
        await self._channel.close(grace=None)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """gRPC's errors become ours; to close its channel it cancels the task that reads."""
        try:
            yield
        except grpc.RpcError as error:
            raise error_of_call(error) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                raise Cancelled(CLOSED) from error
            raise


def _terms(token: Token | None, timeout: float | None) -> dict[str, Any]:
    """Who calls, and the seconds that are left once that is known, as gRPC's arguments.

    Raises:
        DeadlineExceeded: none are left.
    """
    deadline = Deadline(timeout)
    metadata = bearer(token)
    deadline.check()
    return {"timeout": deadline.remaining(), "metadata": metadata}


async def _terms_async(token: AsyncToken | None, timeout: float | None) -> dict[str, Any]:
    """The same on asyncio, where the wait for a token ends at the deadline."""
    deadline = Deadline(timeout)
    try:
        async with asyncio.timeout(timeout) as limit:
            metadata = await bearer_async(token)
    except TimeoutError as error:
        if limit.expired():
            raise DeadlineExceeded(LATE) from error
        raise  # It is the function's own.
    deadline.check()
    return {"timeout": deadline.remaining(), "metadata": metadata}


def _stub(channel: Any, tracer: "Tracer | None") -> Any:
    """The generated stub, which has no types, over a channel of either kind."""
    stub = ExplanationServiceStub(channel)  # type: ignore[no-untyped-call]
    if tracer is None:
        return stub
    from salience_client.tracing import TracedStub  # OpenTelemetry may not be installed.

    return TracedStub(stub, tracer)
