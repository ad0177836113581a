"""The outlet of a call: a caller who does not read in time is not waited for."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from salience_service.errors import Cancelled, DeadlineExceeded
from salience_service.rpc.calls.outlet import Outlet


class Context:
    """Takes so many messages, then waits for ever, or fails."""

    def __init__(self, takes: int, error: Exception | None = None) -> None:
        self.taken: list[Any] = []
        self._takes, self._error = takes, error

    async def write(self, message: Any) -> None:
        if len(self.taken) == self._takes:
            if self._error:
                raise self._error
            await asyncio.Event().wait()
        self.taken.append(message)


def test_messages_go_out_in_order() -> None:
    async def run() -> None:
        context = Context(takes=9)
        outlet = Outlet(context, 5)
        for number in range(9):
            await outlet.send(number)
        outlet.check_read()
        assert context.taken == list(range(9))

    asyncio.run(run())


def test_what_is_not_read_in_time_ends_the_call_and_nothing_more_is_sent() -> None:
    async def run() -> None:
        context = Context(takes=1)
        outlet = Outlet(context, 0.05)
        await outlet.send("read")
        with pytest.raises(DeadlineExceeded, match=r"not read within 0\.05 s, the limit: read"):
            await outlet.send("unread")
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(DeadlineExceeded):
                await outlet.send("never sent")
        assert time.monotonic() - began < 0.05 * 50, "waited again for a caller who does not read"
        with pytest.raises(DeadlineExceeded):
            outlet.check_read()
        assert context.taken == ["read"]

    asyncio.run(run())


def test_a_call_that_ended_meanwhile_is_cancelled_and_no_failure() -> None:
    async def run() -> None:
        gone = Outlet(Context(0, grpc.aio.UsageError("RPC already finished.")), 5)
        with pytest.raises(Cancelled):
            await gone.send("x")
        gone.check_read()

    asyncio.run(run())
