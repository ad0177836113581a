"""One ExplainMany call: a window of tagged explanations in flight, answered as they come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from salience.v1 import explanation_service_pb2 as pb
from salience_service.errors import InvalidRequest, PermissionDenied, Unauthenticated, anew
from salience_service.field_path import read
from salience_service.rpc.calls.explanations import Explanations
from salience_service.rpc.wire.gathering import is_end
from salience_service.rpc.wire.status import request_error_of
from salience_service.rpc.wire.wording import stated

Write = Callable[[pb.ExplainManyResponse], Awaitable[None]]


class ManyCall:
    """The state of one call.

    Args:
        explanations: where requests run.
        write: sends one message to the caller; one at a time.
        window: requests in flight, ≥ 1; beyond it nothing is read.
        deadline: of the whole call, `time.monotonic()` seconds, or None.
    """

    def __init__(
        self, explanations: Explanations, write: Write, window: int, deadline: float | None
    ) -> None:
        self._explanations = explanations
        self._write = write
        self._writing = asyncio.Lock()
        self._window = asyncio.Semaphore(window)
        self._deadline = deadline
        self._tags: set[str] = set()
        self._turned_away: Unauthenticated | PermissionDenied | None = None

    async def answer(self, requests: AsyncIterator[pb.ExplainManyRequest]) -> None:
        """Answers every request; ending early (cancellation) ends all of them.

        Raises:
            Unauthenticated, PermissionDenied: what the call shows counts no more; what was let in
                before is answered.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                await self._window.acquire()
                message = await self._next(requests)
                if message is None:
                    break
                group.create_task(self._answer_one(message))
        if self._turned_away:
            raise anew(self._turned_away)

    async def _next(
        self, requests: AsyncIterator[pb.ExplainManyRequest]
    ) -> pb.ExplainManyRequest | None:
        """The next that can be answered; the others are told why not. None: no more come."""
        while True:
            tag = ""  # A message that cannot be read has none.
            try:
                message = await anext(requests)
                tag = message.tag
                self._enter(message)
                return message
            except StopAsyncIteration:
                return None
            except (Unauthenticated, PermissionDenied) as error:
                self._explanations.refused(error)
                self._turned_away = anew(error)
                return None
            except InvalidRequest as error:
                self._explanations.refused(error)
                await self._send_error(tag, error)

    def _enter(self, message: pb.ExplainManyRequest) -> None:
        tag = read("tag", stated, message.tag, "the tag")
        if tag in self._tags:
            raise InvalidRequest(f"tag {tag!r} is in flight already: use another", field="tag")
        if not message.HasField("request"):
            raise InvalidRequest("the message has a tag but no request", field="request")
        self._tags.add(tag)

    async def _answer_one(self, message: pb.ExplainManyRequest) -> None:
        try:
            await self._send_answer(message)
        finally:
            self._window.release()

    async def _send_answer(self, message: pb.ExplainManyRequest) -> None:
        try:
            async with self._explanations.run(message.request, self._deadline) as responses:
                async for response in responses:
                    # Before the caller can know of the end, so that it may use the tag again.
                    if is_end(response):
                        self._tags.discard(message.tag)
                    await self._send(pb.ExplainManyResponse(tag=message.tag, response=response))
        except Exception as error:
            self._tags.discard(message.tag)
            await self._send_error(message.tag, error)

    async def _send_error(self, tag: str, error: Exception) -> None:
        told = request_error_of(error)
        await self._send(pb.ExplainManyResponse(tag=tag, error=told))

    async def _send(self, message: pb.ExplainManyResponse) -> None:
        async with self._writing:
            await self._write(message)
