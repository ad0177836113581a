"""The benchmark's pure pieces: percentiles, growth, the best batch, pairs of unlike runs, parts."""

import asyncio
import importlib.util
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from bench.crowd import Crowd, percentiles
from bench.endurance import grown
from bench.pairs import per_thousand
from bench.parts import PARTS
from bench.sweep import best_of
from salience_client import Finished, Progress, Started


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_a_module(name: str) -> None:
    assert importlib.util.find_spec(f"bench.{name}") is not None


def test_percentiles_are_those_of_the_values() -> None:
    assert percentiles(range(101)) == (50, 95, 99)
    assert percentiles([7.0]) == (7, 7, 7)


def test_growth_counts_from_the_end_of_the_warm_up_to_the_highest_after_it() -> None:
    samples = [(1, 150.0), (2, 130.0), (3, 120.0), (4, 141.0), (5, 135.0)]
    assert grown(samples, 2) == 11
    assert grown(samples[:3], 2) == -10


def test_the_best_batch_is_the_fastest_and_of_equals_the_smallest() -> None:
    assert best_of({1: 90.0, 8: 120.0, 16: 119.0}) == 8
    assert best_of({16: 120.0, 8: 120.0}) == 8
    assert best_of({8: 117.0, 16: 120.0}) == 16


def test_runs_of_different_length_compare_by_a_thousand_rows() -> None:
    assert per_thousand(lambda: 0.5, 250)() == 2.0
    assert 0 < per_thousand(lambda: "no time of its own", 1000)() < 1


class _Client:
    """Tells four events of each explanation, and counts how many there were, and at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.whole = 0

    async def stream(self, *_: object, **__: object) -> AsyncGenerator[Any]:
        self.now += 1
        self.most = max(self.most, self.now)
        yield Started("m", "1", "", "CPU", 0)
        for done in (1, 2):
            await asyncio.sleep(0.005)
            yield Progress(0, "grad-cam", done, 2)
        self.now -= 1
        yield Finished(2, 0, 0, 0, (), 0, ())

    async def explain(self, *_: object, **__: object) -> None:
        async for _event in self.stream():
            pass
        self.whole += 1


def test_a_crowd_asks_all_at_once_and_hears_every_event() -> None:
    client = _Client()
    crowd: Any = Crowd(client, b"", {"model": "m", "methods": "grad-cam"})  # type: ignore[arg-type]
    heard = asyncio.run(crowd.hear(clients=3, each=2))
    assert (len(heard), client.most) == (6, 3)
    for each in heard:
        assert len(each.gaps) == 3
        assert 0 < each.first < each.whole
        assert sum(each.gaps) == pytest.approx(each.whole - each.first)


def test_a_crowd_asks_for_whole_explanations_all_at_once() -> None:
    client = _Client()
    crowd: Any = Crowd(client, b"", {"model": "m", "methods": "grad-cam"})  # type: ignore[arg-type]
    asyncio.run(crowd.ask(clients=3, each=2))
    assert (client.whole, client.most) == (6, 3)
