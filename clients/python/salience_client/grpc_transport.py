"""Carries messages over gRPC, blocking or on asyncio."""

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

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
from salience_client.errors import error_of_call

# Maps above 1 MiB come in pieces, so gRPC's own limit of 4 MB a message stands. Pings
# find a server that vanished without a word; ours allows them every 10 seconds.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class GrpcTransport:
    """A channel to a server, for `Client`; safe from any thread.

    Args:
        address: HOST:PORT, or any name that gRPC resolves.
        credentials: for TLS; None = not encrypted.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        if credentials is None:
            self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)
        self._stub = _stub(self._channel)

    def explain(self, request: ExplainRequest, timeout: float | None) -> Generator[ExplainResponse]:
        """The call begins when the first message is read."""
        with _translated():
            call = self._stub.Explain(request, timeout=timeout)
            try:
                yield from call
            finally:
                call.cancel()

    def explain_many(
        self, requests: Iterable[ExplainManyRequest], timeout: float | None
    ) -> Generator[ExplainManyResponse]:
        """The call begins when the first message is read; a thread of gRPC's reads `requests`."""
        with _translated():
            call = self._stub.ExplainMany(iter(requests), timeout=timeout)
            try:
                yield from call
            finally:
                call.cancel()

    def list_models(self, request: ListModelsRequest, timeout: float | None) -> ListModelsResponse:
        """Lists the models served."""
        with _translated():
            response: ListModelsResponse = self._stub.ListModels(request, timeout=timeout)
            return response

    def describe_model(
        self, request: DescribeModelRequest, timeout: float | None
    ) -> DescribeModelResponse:
        """Says all of one model."""
        with _translated():
            response: DescribeModelResponse = self._stub.DescribeModel(request, timeout=timeout)
            return response

    def close(self) -> None:
        """Cancels every call and closes the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """A channel to a server, for `AsyncClient`; to be made and used in one event loop.

    Args:
        address: HOST:PORT, or any name that gRPC resolves.
        credentials: for TLS; None = not encrypted.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, CHANNEL_OPTIONS)
        self._stub = _stub(self._channel)

    async def explain(
        self, request: ExplainRequest, timeout: float | None
    ) -> AsyncGenerator[ExplainResponse]:
        """The call begins when the first message is read."""
        with _translated():
            call = self._stub.Explain(request, timeout=timeout)
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def explain_many(
        self, requests: AsyncIterable[ExplainManyRequest], timeout: float | None
    ) -> AsyncGenerator[ExplainManyResponse]:
        """The call begins when the first message is read; a task of gRPC's reads `requests`."""
        with _translated():
            call = self._stub.ExplainMany(requests, timeout=timeout)
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def list_models(
        self, request: ListModelsRequest, timeout: float | None
    ) -> ListModelsResponse:
        """Lists the models served."""
        with _translated():
            response: ListModelsResponse = await self._stub.ListModels(request, timeout=timeout)
            return response

    async def describe_model(
        self, request: DescribeModelRequest, timeout: float | None
    ) -> DescribeModelResponse:
        """Says all of one model."""
        with _translated():
            call = self._stub.DescribeModel(request, timeout=timeout)
            response: DescribeModelResponse = await call
            return response

    async def close(self) -> None:
        """Cancels every call and closes the channel."""
        await self._channel.close(grace=None)


@contextmanager
def _translated() -> Iterator[None]:
    """gRPC's errors become ours."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_of_call(error) from error


def _stub(channel: Any) -> Any:
    """The generated stub, which has no types, over a channel of either kind."""
    return ExplanationServiceStub(channel)  # type: ignore[no-untyped-call]
