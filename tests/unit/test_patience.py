"""A unary answer that nobody reads ends in time, and keeps nothing of what was asked."""

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from salience_service.errors import DeadlineExceeded
from salience_service.rpc.calls.exchange import Patience, answered


class Message:
    """A message that can be looked for."""


class Unread:
    """The context of a call whose caller sent its message and reads nothing.

    Attributes:
        asked: the message, while anyone holds it.
        held: whether anyone did when the answer was written.
    """

    def __init__(self) -> None:
        message = Message()
        self.asked, self._messages, self.held = weakref.ref(message), [message], True

    async def read(self) -> Any:
        return self._messages.pop()

    async def write(self, _: object) -> None:
        self.held = self.asked() is not None
        await asyncio.Event().wait()


async def _reply(request: Message, _: object) -> str:
    assert isinstance(request, Message)
    return "answer"


def test_an_answer_that_nobody_reads_ends_and_the_request_is_let_go_before() -> None:
    context = Unread()
    kinds = dict.fromkeys(("unary_stream", "stream_unary", "stream_stream"))
    handler = SimpleNamespace(
        unary_unary=_reply,
        request_deserializer=None,
        request_streaming=False,
        response_streaming=False,
        **kinds,
    )

    async def answer() -> None:
        await answered(handler, context, asyncio.sleep(0), Patience(None, 0.05))

    with pytest.raises(DeadlineExceeded, match=r"not read within 0.05 s"):
        asyncio.run(answer())
    assert not context.held
