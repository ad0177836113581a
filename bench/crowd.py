"""Many explanations asked for at a time, and when their events came."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from salience_client import AsyncClient, Finished, Progress, Started
from salience_client.request import RequestOptions

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
        await asyncio.gather(*(self._ask_in_turn(each) for _ in range(clients)))

    async def hear(self, clients: int, each: int) -> list[Heard]:
        """What all of them heard, `each` explanations a client, event by event."""
        found = await asyncio.gather(*(self._hear_in_turn(each) for _ in range(clients)))
        return [heard for mine in found for heard in mine]

    async def _ask_in_turn(self, count: int) -> None:
        for _ in range(count):
            await self.client.explain(self.image, **self.options)

    async def _hear_in_turn(self, count: int) -> list[Heard]:
        return [await self._heard() for _ in range(count)]

    async def _heard(self) -> Heard:
        began = time.perf_counter()
        first, spoken = 0.0, list[float]()
        async for event in self.client.stream(self.image, **self.options):
            now = time.perf_counter() - began
            first = first or now
            if isinstance(event, Started | Progress | Finished):
                spoken.append(now)
        return Heard(first, now, tuple(np.diff(spoken).tolist()))


def percentiles(values: Sequence[float]) -> tuple[float, ...]:
    """The 50th, 95th and 99th, of at least one value."""
    return tuple(float(each) for each in np.percentile(values, PERCENTILES))
