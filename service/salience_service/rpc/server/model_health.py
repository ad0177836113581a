"""The health of each model, as the repository has it, told to gRPC's health service."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from grpc_health.v1 import health_pb2

from salience_service.rpc.server.health import Health

_Status = health_pb2.HealthCheckResponse


class Known(Protocol):
    """What is read of the engine."""

    def ready(self) -> Mapping[str, bool]:
        """Every model that is known, and whether it answers requests."""
        ...

    def on_change(self, listener: Callable[[], None], /) -> Callable[[], None]:
        """Calls `listener` whenever `ready` may be another; what is returned ends that."""
        ...


class ModelHealth:
    """Says SERVING of a model that answers, NOT_SERVING of one that is known and does not.

    A model that is known no more is forgotten: watches hear SERVICE_UNKNOWN. On the event loop.

    Args:
        health: is told.
        engine: is asked.
    """

    def __init__(self, health: Health, engine: Known) -> None:
        self._health = health
        self._engine = engine
        self._told: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._end: Callable[[], None] = lambda: None

    async def begin(self) -> None:
        """Tells all that is known, and every change from then on."""
        loop = asyncio.get_running_loop()
        self._end = self._engine.on_change(lambda: _wake(loop, self._changed))
        await self._tell()
        self._following = asyncio.create_task(self._follow())

    async def end(self) -> None:
        """Tells nothing more."""
        self._end()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait((self._following,))

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._tell()

    async def _tell(self) -> None:
        ready = dict(self._engine.ready())
        for name in self._told.keys() - ready.keys():
            await self._health.forget(name)
        for name, answers in ready.items():
            if self._told.get(name) is not answers:
                await self._health.set(name, _Status.SERVING if answers else _Status.NOT_SERVING)
        self._told = ready


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    """From any thread; a server that is gone needs no word."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(changed.set)
