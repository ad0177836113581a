"""How a server goes: its health says so first, then the door closes, and the port goes last."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from salience_service.errors import SalienceError
from salience_service.life.farewell import draining, stopped
from salience_service.rpc.calls.door import Door
from salience_service.rpc.calls.explanations import Explanations

NOTICE_SECONDS = 0.25
"""From NOT_SERVING to the closed door: who watches health sends nothing more by then."""
LAST_WORDS_SECONDS = 1.0
"""For final statuses on their way when the last explanation ends."""


class Health(Protocol):
    """What a departure needs of gRPC's health service."""

    @property
    def is_watched(self) -> bool:
        """Whether anybody hears of changes as they come."""
        ...

    async def enter_graceful_shutdown(self) -> None:
        """Says NOT_SERVING for every name, whatever is said later."""
        ...


class Departure:
    """The ways out of a server, on its event loop; each may be gone once.

    The port stays open while explanations end: who comes then is told when to come again,
    where a closed port would say nothing.

    Args:
        health: told first. door: closed next. explanations: what is still answered.
        server: gRPC's own, stopped last.
        drain_seconds: how long running explanations may still take.
    """

    def __init__(
        self,
        health: Health,
        door: Door,
        explanations: Explanations,
        server: Any,
        drain_seconds: float,
    ) -> None:
        self._health, self._door = health, door
        self._explanations, self._server = explanations, server
        self._drain_seconds = drain_seconds

    async def in_peace(self) -> None:
        """Running explanations end; those that take longer than the drain time are ended."""
        await self._health.enter_graceful_shutdown()
        if self._health.is_watched:
            await asyncio.sleep(NOTICE_SECONDS)
        self._door.close(draining())
        await self._idle_within(self._drain_seconds)
        await self._end_all(stopped())

    async def at_once(self, because: SalienceError) -> None:
        """Whoever waits is told why; nothing is waited for but that."""
        await self._health.enter_graceful_shutdown()
        self._door.close(because)
        await self._end_all(because)

    async def _end_all(self, because: SalienceError) -> None:
        """Ends what still runs, gives its status time to go out, and closes the port."""
        self._explanations.end_all(because)
        await self._idle_within(LAST_WORDS_SECONDS)
        # Health watches have no end of their own: nobody waits for them.
        await self._server.stop(LAST_WORDS_SECONDS)

    async def _idle_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._explanations.idle(), seconds)
