"""One client of several servers: gRPC's round robin over those that say SERVING."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_client import AsyncClient, Client, RetryPolicy, Unavailable
from tests.support import fake_answers as fake
from tests.support.waiting import until

CALLS = 12
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PATIENT = RetryPolicy(attempts=100, first_wait=0.01, longest_wait=0.1)


class Replica(pb_grpc.ExplanationServiceServicer):
    """A made-up server that counts what it is asked.

    Args:
        with_health: whether it knows gRPC's health service.
    """

    def __init__(self, with_health: bool = True) -> None:
        self.asked = 0
        self.health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(8))
        pb_grpc.add_ExplanationServiceServicer_to_server(self, self._server)
        if with_health:
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.say(SERVING)
        self.place = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Explain(self, request: Any, context: Any) -> Iterator[pb.ExplainResponse]:  # noqa: N802
        self.asked += 1
        yield from fake.simple_answer()

    def say(self, status: Any) -> None:
        self.health.set("", status)

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def replicas() -> Iterator[list[Replica]]:
    running = [Replica(), Replica()]
    yield running
    for replica in running:
        replica.stop()


def name_of(replicas: list[Replica]) -> str:
    return f"ipv4:{','.join(replica.place for replica in replicas)}"


def ask(client: Client, count: int = CALLS) -> None:
    for _ in range(count):
        client.explain(b"png", model="lite0", methods="score-cam")


def asked_until_all_are_found(client: Client, replicas: list[Replica]) -> None:
    """The first calls go to whichever is connected first."""

    def found() -> bool:
        ask(client, 1)
        return all(replica.asked for replica in replicas)

    until(found)
    for replica in replicas:
        replica.asked = 0


def test_calls_are_shared_out_in_turn(replicas):
    with Client(name_of(replicas), round_robin=True, retries=PATIENT) as client:
        asked_until_all_are_found(client, replicas)
        ask(client)
    assert [replica.asked for replica in replicas] == [CALLS // 2, CALLS // 2]


def test_on_asyncio_the_same(replicas):
    async def run() -> None:
        async with AsyncClient(name_of(replicas), round_robin=True, retries=PATIENT) as client:

            async def one() -> None:
                await client.explain(b"png", model="lite0", methods="score-cam")

            while not all(replica.asked for replica in replicas):
                await one()
            for replica in replicas:
                replica.asked = 0
            await asyncio.gather(*(one() for _ in range(CALLS)))

    asyncio.run(asyncio.wait_for(run(), 30))
    assert [replica.asked for replica in replicas] == [CALLS // 2, CALLS // 2]


def test_else_one_server_has_all_calls(replicas):
    with Client(name_of(replicas)) as client:
        ask(client)
    assert sorted(replica.asked for replica in replicas) == [0, CALLS]


def test_who_says_not_serving_is_asked_nothing_until_it_serves(replicas):
    resting, busy = replicas
    with Client(name_of(replicas), round_robin=True, retries=PATIENT) as client:
        asked_until_all_are_found(client, replicas)
        resting.say(NOT_SERVING)

        def is_left() -> bool:
            before = resting.asked
            ask(client, 4)
            return resting.asked == before

        until(is_left)
        resting.asked = busy.asked = 0
        ask(client)
        assert [resting.asked, busy.asked] == [0, CALLS]
        resting.say(SERVING)
        asked_until_all_are_found(client, replicas)


def test_where_none_serves_the_error_says_so(replicas):
    for replica in replicas:
        replica.say(NOT_SERVING)
    with (
        Client(name_of(replicas), round_robin=True, retries=None, timeout=20) as client,
        pytest.raises(Unavailable),
    ):
        ask(client, 1)
    assert [replica.asked for replica in replicas] == [0, 0]


def test_one_that_goes_takes_nothing_with_it(replicas):
    with Client(name_of(replicas), round_robin=True, retries=PATIENT) as client:
        asked_until_all_are_found(client, replicas)
        replicas[0].stop()
        ask(client)
    assert replicas[1].asked == CALLS


def test_servers_without_a_health_service_have_their_share():
    replicas = [Replica(with_health=False), Replica(with_health=False)]
    try:
        with Client(name_of(replicas), round_robin=True, retries=PATIENT) as client:
            asked_until_all_are_found(client, replicas)
    finally:
        for replica in replicas:
            replica.stop()
