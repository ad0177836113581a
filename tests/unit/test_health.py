"""Health's watches: every change is heard, and nobody waits for who reads nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from grpc_health.v1 import health_pb2

from salience_service.rpc.server.health import Health
from tests.support.waiting import SOON_SECONDS

SERVER = health_pb2.HealthCheckRequest(service="")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Reader:
    """The context of a watch; it takes a message as soon as it `reads`."""

    def __init__(self, reads: bool) -> None:
        self.told: asyncio.Queue[int] = asyncio.Queue()
        self.asked = asyncio.Event()
        self._reads = asyncio.Event()
        if reads:
            self.read()

    def read(self) -> None:
        self._reads.set()

    async def write(self, message: health_pb2.HealthCheckResponse) -> None:
        self.asked.set()
        await self._reads.wait()
        self.told.put_nowait(message.status)


def _run(test: Callable[[Health], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SOON_SECONDS):
            await test(Health())

    asyncio.run(bounded())


def test_a_watch_that_reads_nothing_holds_up_neither_a_change_nor_another_watch() -> None:
    async def test(health: Health) -> None:
        stuck, other = Reader(reads=False), Reader(reads=True)
        watches = [asyncio.create_task(health.Watch(SERVER, each)) for each in (stuck, other)]
        await stuck.asked.wait()
        assert await other.told.get() == SERVING
        await health.enter_graceful_shutdown()
        assert await other.told.get() == NOT_SERVING
        stuck.read()  # What changed while it did not read is told then.
        assert [await stuck.told.get(), await stuck.told.get()] == [SERVING, NOT_SERVING]
        for watch in watches:
            watch.cancel()

    _run(test)
