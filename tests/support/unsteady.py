"""Transports that fail as they are told, and answer where they are not; blocking and on asyncio."""

from collections.abc import AsyncGenerator, Generator, Sequence

from salience.v1 import explanation_service_pb2 as pb
from tests.support import fake_answers as fake


class Unsteady(fake.FakeTransport):
    """Meets each call with the next fault; None = none.

    Args:
        faults: one a call, of whatever kind.
        told: messages of an answer that come before its fault.

    Attributes:
        calls: how many were made.
    """

    def __init__(self, faults: Sequence[Exception | None], told: int = 0) -> None:
        super().__init__(fake.simple_answer())
        self._faults, self._told = list(faults), told
        self.calls = 0

    def explain(
        self, request: pb.ExplainRequest, timeout: float | None
    ) -> Generator[pb.ExplainResponse]:
        fault = self._next()
        if fault is None:
            yield from super().explain(request, timeout)
            return
        self.timeouts.append(timeout)
        yield from self.answer[: self._told]
        raise fault

    def list_models(
        self, request: pb.ListModelsRequest, timeout: float | None
    ) -> pb.ListModelsResponse:
        answer = super().list_models(request, timeout)
        self._raise()
        return answer

    def describe_model(
        self, request: pb.DescribeModelRequest, timeout: float | None
    ) -> pb.DescribeModelResponse:
        self._raise()
        return super().describe_model(request, timeout)

    def _raise(self) -> None:
        if fault := self._next():
            raise fault

    def _next(self) -> Exception | None:
        self.calls += 1
        return self._faults.pop(0)


class AsyncUnsteady:
    """The same on asyncio.

    Attributes:
        inner: the blocking one.
    """

    def __init__(self, faults: Sequence[Exception | None], told: int = 0) -> None:
        self.inner = Unsteady(faults, told)

    async def explain(
        self, request: pb.ExplainRequest, timeout: float | None
    ) -> AsyncGenerator[pb.ExplainResponse]:
        for message in self.inner.explain(request, timeout):
            yield message

    async def list_models(
        self, request: pb.ListModelsRequest, timeout: float | None
    ) -> pb.ListModelsResponse:
        return self.inner.list_models(request, timeout)

    async def describe_model(
        self, request: pb.DescribeModelRequest, timeout: float | None
    ) -> pb.DescribeModelResponse:
        return self.inner.describe_model(request, timeout)

    async def close(self) -> None:
        self.inner.close()
