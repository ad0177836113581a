"""A made-up server of many, whose calls break off where a script says; blocking and on asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator, Sequence

from salience.v1 import explanation_service_pb2 as pb
from salience_client.errors import SalienceError, message_of_error
from tests.support import fake_answers as fake

EVENTS = len(fake.simple_answer())


class BreakingCalls(fake.FakeTransport):
    """Answers a window of requests side by side, message by message in turn.

    Args:
        breaks: one a call: after how many messages it breaks off; None = never.
        fault: what it breaks off with.
        window: requests it reads before it answers one.
        refusals: errors that the requests of a tag meet, one after the other, instead of
            an answer.

    Attributes:
        sent: the tags that each call was asked.
    """

    def __init__(
        self,
        breaks: Sequence[int | None] = (None,),
        fault: SalienceError | None = None,
        window: int = 3,
        refusals: dict[str, list[SalienceError]] | None = None,
    ) -> None:
        super().__init__(fake.simple_answer(), fault)
        self._breaks, self._window = list(breaks), window
        self._refusals = refusals or {}
        self.sent: list[list[str]] = []

    def explain_many(
        self, requests: Iterable[pb.ExplainManyRequest], timeout: float | None
    ) -> Generator[pb.ExplainManyResponse]:
        self.timeouts.append(timeout)
        most = self._breaks.pop(0) if self._breaks else None
        self.sent.append([])
        for count, message in enumerate(self._answers(iter(requests), self.sent[-1])):
            if count == most:
                raise self._broken()
            yield message
        if most is not None:
            raise self._broken()

    def _broken(self) -> SalienceError:
        assert self.fault is not None
        return self.fault

    def _answers(
        self, requests: Iterator[pb.ExplainManyRequest], sent: list[str]
    ) -> Iterator[pb.ExplainManyResponse]:
        turns: list[Iterator[pb.ExplainManyResponse]] = []
        more = True
        while turns or more:
            while more and len(turns) < self._window:
                request = next(requests, None)
                more = request is not None
                if request is not None:
                    sent.append(request.tag)
                    turns.append(self._turn(request))
            for turn in list(turns):
                message = next(turn, None)
                if message is None:
                    turns.remove(turn)
                else:
                    yield message

    def _turn(self, request: pb.ExplainManyRequest) -> Iterator[pb.ExplainManyResponse]:
        refusals = self._refusals.get(request.tag)
        if refusals:
            error = message_of_error(refusals.pop(0))
            yield pb.ExplainManyResponse(tag=request.tag, error=error)
        else:
            yield from self._tagged(request)


class AsyncBreakingCalls:
    """The same on asyncio, where gRPC cancels the reading of requests with its call."""

    def __init__(self, inner: BreakingCalls) -> None:
        self.inner = inner

    async def explain_many(
        self, requests: AsyncIterable[pb.ExplainManyRequest], timeout: float | None
    ) -> AsyncGenerator[pb.ExplainManyResponse]:
        """Reads all that comes before the first pause, as a window."""
        taken: asyncio.Queue[pb.ExplainManyRequest | None] = asyncio.Queue()

        async def take() -> None:
            async for request in requests:
                taken.put_nowait(request)
            taken.put_nowait(None)

        taking = asyncio.create_task(take())
        try:
            most = self.inner._breaks.pop(0) if self.inner._breaks else None
            self.inner.sent.append([])
            count = 0
            while (request := await taken.get()) is not None:
                self.inner.sent[-1].append(request.tag)
                for message in self.inner._turn(request):
                    if count == most:
                        raise self.inner._broken()
                    yield message
                    count += 1
            if most is not None:
                raise self.inner._broken()
        finally:
            taking.cancel()

    async def close(self) -> None:
        self.inner.close()
