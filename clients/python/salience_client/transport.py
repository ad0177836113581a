"""The seam: what a client needs of whatever carries its messages, in protobuf messages alone."""

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from typing import Protocol

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


class Transport(Protocol):
    """Carries messages to a server and back.

    Timeouts are in seconds, None = no deadline. Failures are `SalienceError`. Closing a
    generator before its end cancels the call.
    """

    def explain(self, request: ExplainRequest, timeout: float | None) -> Generator[ExplainResponse]:
        """Answers one request; the messages of the answer as they come."""
        ...

    def explain_many(
        self, requests: Iterable[ExplainManyRequest], timeout: float | None
    ) -> Generator[ExplainManyResponse]:
        """Answers many requests, which may be read from another thread."""
        ...

    def list_models(self, request: ListModelsRequest, timeout: float | None) -> ListModelsResponse:
        """Lists the models served."""
        ...

    def describe_model(
        self, request: DescribeModelRequest, timeout: float | None
    ) -> DescribeModelResponse:
        """Says all of one model."""
        ...

    def close(self) -> None:
        """Ends every call and lets go of the connection."""
        ...


class AsyncTransport(Protocol):
    """The same on asyncio."""

    def explain(
        self, request: ExplainRequest, timeout: float | None
    ) -> AsyncGenerator[ExplainResponse]:
        """Answers one request; the messages of the answer as they come."""
        ...

    def explain_many(
        self, requests: AsyncIterable[ExplainManyRequest], timeout: float | None
    ) -> AsyncGenerator[ExplainManyResponse]:
        """Answers many requests."""
        ...

    async def list_models(
        self, request: ListModelsRequest, timeout: float | None
    ) -> ListModelsResponse:
        """Lists the models served."""
        ...

    async def describe_model(
        self, request: DescribeModelRequest, timeout: float | None
    ) -> DescribeModelResponse:
        """Says all of one model."""
        ...

    async def close(self) -> None:
        """Ends every call and lets go of the connection."""
        ...
