"""Many explanations asked for at a time, and when their events came."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from salience_client import AsyncClient, Finished, Progress, Started
from salience_client.request import RequestOptions

T = TypeVar("T")

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Heard:
    """One explanation, in seconds from its call.

    Attributes:
        first: to the first event.
        whole: to the last.
        gaps: between progress events, from `started` to the first and from the last to the end.
    """

    first: float
    whole: float
    gaps: tuple[float, ...]


@dataclass(frozen=True)
class Crowd:
    """Clients that each ask for one explanation after the other, all at once.

    Attributes:
        image: a file's bytes.
        options: of every request.
    """

    client: AsyncClient
    image: bytes
    options: RequestOptions

    async def ask(self, clients: int, each: int) -> None:
        """All of them ask for whole explanations, `each` a client."""
        await _by_all(clients, each, self._asked)

    async def hear(self, clients: int, each: int) -> list[Heard]:
        """What all of them heard, `each` explanations a client, event by event."""
        return await _by_all(clients, each, self._heard)

    async def _asked(self) -> None:
        await self.client.explain(self.image, **self.options)

    async def _heard(self) -> Heard:
        began = time.perf_counter()
        first, spoken = 0.0, list[float]()
        async for event in self.client.stream(self.image, **self.options):
            now = time.perf_counter() - began
            first = first or now
            if isinstance(event, Started | Progress | Finished):
                spoken.append(now)
        return Heard(first, now, tuple(np.diff(spoken).tolist()))


async def _by_all(clients: int, each: int, do: Callable[[], Awaitable[T]]) -> list[T]:
    """What `do` comes to: all clients at once, each of them `each` times in turn."""

    async def in_turn() -> list[T]:
        return [await do() for _ in range(each)]

    found = await asyncio.gather(*(in_turn() for _ in range(clients)))
    return [one for mine in found for one in mine]


def percentiles(values: Sequence[float]) -> tuple[float, ...]:
    """The 50th, 95th and 99th, of at least one value."""
    return tuple(float(each) for each in np.percentile(values, PERCENTILES))
