"""A server that is killed while it answers, and its client: nothing lost, doubled or different."""

import asyncio
import shutil
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from salience.v1.explanation_service_pb2 import ExplainRequest
from salience_client import (
    AsyncClient,
    Client,
    Event,
    Explanation,
    Failed,
    Finished,
    Preprocessed,
    Progress,
    Restarted,
    RetryPolicy,
    SaliencyMap,
    Scores,
    explain_request,
)
from salience_service.bundle.reader import Bundle
from tests.support.killable import KillableServer
from tests.support.small import small

PATIENT = RetryPolicy(attempts=1000, first_wait=0.1, longest_wait=1)
ASK = {"model": "softmax", "scores": ["ad", "insertion"]}
COUNT = 12


@pytest.fixture(scope="module")
def server(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KillableServer]:
    directory = tmp_path_factory.mktemp("killed") / "models"
    shutil.copytree(tiny_bundle.directory, directory / "softmax" / "1")
    with KillableServer(directory) as running:
        yield running


def image(number: int) -> Preprocessed:
    values = np.random.default_rng(number).normal(size=(3, 32, 32))
    return Preprocessed(values.astype(np.float32))


def slow() -> object:
    """Takes long enough to be killed in its midst."""
    return small("rise", masks=4000)


def requests(read: list[str]) -> Iterator[tuple[str, ExplainRequest]]:
    for number in range(COUNT):
        read.append(str(number))
        yield str(number), explain_request(image(number), methods=small("rise", masks=500), **ASK)


class Answers:
    """What each request came to, without what a restart made void."""

    def __init__(self) -> None:
        self.found: dict[str, list[Event]] = {}
        self.restarts = 0

    def add(self, tag: str, event: Event | Failed) -> None:
        assert not isinstance(event, Failed), event
        told = self.found.setdefault(tag, [])
        assert not any(isinstance(each, Finished) for each in told), "answered twice"
        if isinstance(event, Restarted):
            self.restarts += 1
            told.clear()
        else:
            told.append(event)

    @property
    def finished(self) -> int:
        return sum(isinstance(told[-1], Finished) for told in self.found.values() if told)

    def numbers(self) -> dict[str, list[bytes]]:
        return {tag: numbers(told) for tag, told in self.found.items()}


def numbers(events: list[Event]) -> list[bytes]:
    """Every number of maps and scores, to the last bit."""
    maps = [event.data for event in events if isinstance(event, SaliencyMap)]
    scores = [repr(sorted(e.values.items())) for e in events if isinstance(e, Scores)]
    return [*maps, *(each.encode() for each in scores)]


def kill_and_restart(server: KillableServer) -> threading.Thread:
    server.kill()
    restarting = threading.Thread(target=server.restart)
    restarting.start()
    return restarting


def test_a_stream_is_begun_anew_by_the_server_in_its_place_and_ends_bit_for_bit_the_same(
    server: KillableServer,
) -> None:
    with Client(server.address, retries=PATIENT) as client:
        expected = client.explain(image(0), methods=slow(), **ASK)
        events: list[Event] = []
        restarting = None
        for event in client.stream(image(0), methods=slow(), **ASK):
            if isinstance(event, Progress) and restarting is None:
                restarting = kill_and_restart(server)
            events.append(event)
        assert restarting is not None
        restarting.join()
    assert sum(isinstance(event, Restarted) for event in events) == 1
    found = Explanation.of(events)
    assert found["rise"].data == expected["rise"].data
    assert found.scores[0].values == expected.scores[0].values


def test_many_are_resumed_and_each_is_answered_once_bit_for_bit_the_same(
    server: KillableServer,
) -> None:
    expected, found, read = Answers(), Answers(), []
    with Client(server.address, retries=PATIENT) as client:
        for tag, event in client.explain_many(requests([])):
            expected.add(tag, event)
        restarting = None
        for tag, event in client.explain_many(requests(read)):
            found.add(tag, event)
            if found.finished == 1 and restarting is None:
                restarting = kill_and_restart(server)
        assert restarting is not None
        restarting.join()
    assert found.finished == expected.finished == COUNT
    assert found.numbers() == expected.numbers()
    assert read == [str(number) for number in range(COUNT)]
    assert found.restarts


def test_on_asyncio_the_same(server: KillableServer) -> None:
    expected, found, read = Answers(), Answers(), []

    async def ask() -> None:
        async with AsyncClient(server.address, retries=PATIENT) as client:
            async for tag, event in client.explain_many(requests([])):
                expected.add(tag, event)
            restarting = None
            async for tag, event in client.explain_many(requests(read)):
                found.add(tag, event)
                if found.finished == 3 and restarting is None:
                    restarting = kill_and_restart(server)
            assert restarting is not None
            await asyncio.to_thread(restarting.join)

    asyncio.run(ask())
    assert found.finished == COUNT
    assert found.numbers() == expected.numbers()
    assert read == [str(number) for number in range(COUNT)]
