"""The client where the network or the server fails it: reset, half open, late, stopped, gone."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from salience_client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    Failed,
    Finished,
    GrpcTransport,
    InvalidRequest,
    NotFound,
    Overloaded,
    Progress,
    Restarted,
    RetryPolicy,
    Started,
    Unavailable,
    explain_request,
)
from salience_client.grpc_transport import CHANNEL_OPTIONS
from salience_service.control import Control
from salience_service.events import Event
from salience_service.request import ExplainOrder
from salience_service.rpc.server.options import LEAST_PING_SECONDS
from tests.support import serving as fake
from tests.support.forwarder import forwarding
from tests.support.serving import FakeEngine, patient, plain, serving
from tests.support.waiting import SOON_SECONDS, until

ASK = {"model": "tiny", "methods": "score-cam"}
QUICK = RetryPolicy(attempts=8, first_wait=0.05, longest_wait=1)
_SHORT = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
WATCHFUL = tuple((dict(CHANNEL_OPTIONS) | dict.fromkeys(_SHORT, 2000)).items())
"""Soon enough for a test, and late enough for a machine that does other work beside it."""


class Gate:
    """An engine whose explanations tell that they began, then wait until they may end."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Semaphore(0), threading.Event()
        self.engine = FakeEngine({"tiny": self._script})

    def _script(self, order: ExplainOrder, control: Control) -> Iterator[Event]:
        yield fake.STARTED
        yield fake.Progress(0, "score-cam", 1, 5)
        self.began.release()
        stopped = threading.Event()
        control.on_cancel(stopped.set)
        while not (self.may_end.is_set() or stopped.wait(0.01)):
            pass
        control.check()
        yield fake.finished_map()
        yield fake.FINISHED


def requests(count: int) -> Iterator[tuple[str, object]]:
    for number in range(count):
        yield str(number), explain_request(b"\0\1\2\3", **ASK)


@pytest.mark.parametrize("fault", ["drop", "hold"])
def test_a_stream_whose_connection_breaks_begins_anew(fault: str) -> None:
    gate = Gate()
    with serving(gate.engine) as server, forwarding(server.address) as between:
        transport = GrpcTransport(between.address, options=WATCHFUL)
        with Client(transport, retries=QUICK, timeout=30) as client:
            kinds = []
            for event in client.stream(b"\0\1\2\3", **ASK):
                kinds.append(type(event))
                if isinstance(event, Progress) and Restarted not in kinds:
                    getattr(between, fault)()
                    gate.may_end.set()
            assert kinds.count(Restarted) == 1
            after = kinds[kinds.index(Restarted) + 1 :]
            assert (after[0], after[-1]) == (Started, Finished)
            assert between.accepted == 2


def test_a_half_open_connection_is_noticed_in_time() -> None:
    gate = Gate()
    with serving(gate.engine) as server, forwarding(server.address) as between:
        transport = GrpcTransport(between.address, options=WATCHFUL)
        with Client(transport, retries=None, timeout=600) as client:
            stream = client.stream(b"\0\1\2\3", **ASK)
            next(stream)
            between.hold()
            began = time.monotonic()
            with pytest.raises(Unavailable):
                list(stream)
            assert time.monotonic() - began < SOON_SECONDS
        gate.may_end.set()


def test_the_clients_pings_are_no_more_than_our_server_bears() -> None:
    """More are answered by the end of the connection."""
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] >= 1000 * LEAST_PING_SECONDS
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] <= 25_000
    assert options["grpc.max_reconnect_backoff_ms"] <= 2_000


def test_a_late_connection_is_waited_for_and_no_longer_than_the_deadline() -> None:
    with serving(FakeEngine()) as server, forwarding(server.address) as between:
        between.delay = 0.1
        with Client(between.address, retries=QUICK) as client:
            assert client.models(timeout=20)[0].name == "tiny"
            between.delay = 600.0
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.models(timeout=0.5)
            assert time.monotonic() - began < SOON_SECONDS


def test_many_over_a_connection_that_keeps_breaking_are_each_answered_once() -> None:
    finished = []
    with (
        serving(FakeEngine()) as server,
        forwarding(server.address) as between,
        Client(between.address, retries=QUICK, timeout=60) as client,
    ):
        for told, (tag, event) in enumerate(client.explain_many(requests(60))):
            assert not isinstance(event, Failed)
            if told in (10, 60, 130):
                between.drop()
            if isinstance(event, Finished):
                finished.append(tag)
    assert sorted(finished, key=int) == [str(number) for number in range(60)]
    assert between.accepted >= 3


@pytest.mark.parametrize("blocking", [True, False])
def test_of_many_one_longer_than_the_server_takes_fails_alone(blocking: bool) -> None:
    many = list(requests(12))
    many[5] = ("5", explain_request(bytes(70_000), **ASK))

    async def ask(address: str) -> list[tuple[str, object]]:
        async with AsyncClient(address, retries=QUICK, timeout=60) as client:
            return [tagged async for tagged in client.explain_many(many)]

    with serving(FakeEngine(), max_message_bytes=65_536) as server:
        if blocking:
            with Client(server.address, retries=QUICK, timeout=60) as client:
                events = list(client.explain_many(many))
        else:
            events = asyncio.run(ask(server.address))

    ended = {tag: event for tag, event in events if isinstance(event, Finished | Failed)}
    failed = ended.pop("5")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Overloaded)
    assert sorted(map(int, ended)) == [*range(5), *range(6, 12)]
    assert all(isinstance(event, Finished) for event in ended.values())


def test_many_outlive_a_server_that_stops_and_another_in_its_place() -> None:
    gate = Gate()
    stopping = serving(gate.engine, drain_seconds=0.1)
    address = stopping.__enter__().address
    second = None
    with Client(address, retries=QUICK, timeout=60) as client:
        finished = []
        try:
            for tag, event in client.explain_many(requests(6)):
                assert not isinstance(event, Failed), event
                if second is None:
                    stopping.__exit__(None, None, None)
                    second = serving(FakeEngine(), address=address)
                    second.__enter__()
                if isinstance(event, Finished):
                    finished.append(tag)
        finally:
            assert second is not None
            second.__exit__(None, None, None)
    assert sorted(finished) == [str(number) for number in range(6)]


def test_a_channel_comes_back_after_its_server_restarted_on_the_same_port() -> None:
    with serving(FakeEngine()) as server:
        address = server.address
        client = Client(address, retries=replace(QUICK, attempts=1000), timeout=30)
        assert client.models()
    answers: list[object] = []
    with client, Client(address, retries=None) as impatient:
        with pytest.raises(Unavailable):
            impatient.models()
        asking = threading.Thread(target=lambda: answers.append(client.models()))
        asking.start()
        time.sleep(0.3)  # Some attempts are made in vain.
        assert not answers
        with serving(FakeEngine(), address=address):
            asking.join(SOON_SECONDS)
            assert answers


def test_on_asyncio_the_same() -> None:
    gate = Gate()

    async def ask() -> list[str]:
        with serving(gate.engine) as server, forwarding(server.address) as between:
            async with AsyncClient(between.address, retries=QUICK, timeout=60) as client:
                finished, kinds = [], []
                async for event in client.stream(b"\0\1\2\3", **ASK):
                    kinds.append(type(event))
                    if isinstance(event, Progress) and Restarted not in kinds:
                        between.drop()
                        gate.may_end.set()
                assert kinds.count(Restarted) == 1
                told = 0
                async for tag, event in client.explain_many(requests(30)):
                    told += 1
                    if told in (10, 60):
                        between.drop()
                    if isinstance(event, Finished):
                        finished.append(tag)
                return sorted(finished, key=int)

    assert asyncio.run(ask()) == [str(number) for number in range(30)]


def test_of_a_stream_left_half_way_no_connection_stays_once_its_client_is_closed() -> None:
    with serving(Gate().engine) as server, forwarding(server.address) as between:
        with Client(between.address, retries=None) as client:
            stream = client.stream(b"\0\1\2\3", **ASK)
            next(stream)
            stream.close()
            assert (between.accepted, between.left) == (1, 0)
        until(lambda: between.left == 1)


def test_closing_the_client_ends_what_is_being_answered_asked_again_or_made_anew() -> None:
    with serving(FakeEngine({"tiny": patient})) as server:
        for make in ("stream", "explain_many"):
            client = Client(server.address, retries=QUICK)
            asked = {
                "stream": lambda c=client: c.stream(b"\0\1\2\3", **ASK),
                "explain_many": lambda c=client: c.explain_many(requests(3)),
            }[make]()
            next(asked)
            threading.Timer(0.1, client.close).start()
            with pytest.raises(Cancelled):
                list(asked)
            with pytest.raises(Cancelled, match="closed"):
                client.models()
    client = Client(
        server.address, retries=RetryPolicy(first_wait=600, longest_wait=600), timeout=3600
    )
    threading.Timer(0.2, client.close).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        client.models()
    assert time.monotonic() - began < SOON_SECONDS


def test_closing_the_asynchronous_client_does_too() -> None:
    async def ask() -> None:
        with serving(FakeEngine({"tiny": patient})) as server:
            for many in (False, True):
                client = AsyncClient(server.address, retries=QUICK)
                asked = client.explain_many(requests(3)) if many else client.stream(b"\0\1", **ASK)
                await anext(asked)
                asyncio.get_running_loop().call_later(
                    0.1, lambda c=client: asyncio.ensure_future(c.close())
                )
                with pytest.raises(Cancelled):
                    async for _ in asked:
                        pass
                with pytest.raises(Cancelled, match="closed"):
                    await client.models()
            client = AsyncClient(server.address)
            task = asyncio.create_task(client.explain(b"\0\1", **ASK))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.close()

    asyncio.run(ask())


def test_a_client_that_is_killed_frees_its_rows_and_its_neighbours_are_served() -> None:
    engine = FakeEngine({"slow": patient, "tiny": plain})
    program = (
        "import sys\n"
        "from salience_client import Client, explain_request\n"
        "ask = lambda: explain_request(b'x', model='slow', methods='score-cam')\n"
        "many = Client(sys.argv[1]).explain_many((str(n), ask()) for n in range(4))\n"
        "for tag, event in many:\n"
        "    print(tag, type(event).__name__, flush=True)\n"
    )
    with serving(engine) as server:
        killed = subprocess.Popen(
            [sys.executable, "-c", program, server.address],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        with killed:
            assert killed.stdout is not None
            begun = set()
            while len(begun) < 4:
                begun.add(killed.stdout.readline().split()[0])
            killed.kill()
        assert all(engine.ended.acquire(timeout=SOON_SECONDS) for _ in range(4))
        assert all(control.dead for control in engine.controls)
        with Client(server.address) as neighbour:
            events = list(neighbour.explain_many(requests(3)))
    assert sum(isinstance(event, Finished) for _, event in events) == 3


def test_the_details_of_a_refusal_reach_the_caller() -> None:
    with serving(FakeEngine(), max_explanations=1) as server, Client(server.address) as client:
        with pytest.raises(InvalidRequest) as refused:
            list(client.stream(b"\0", model="tiny", methods=["score-cam", ""]))
        assert refused.value.field == "methods[1].name"
        with pytest.raises(NotFound):
            client.describe("nobody")


def test_a_full_server_says_when_to_come_again_and_is_asked_then() -> None:
    gate = Gate()
    with serving(gate.engine, max_explanations=1) as server, Client(server.address) as client:
        running = client.stream(b"\0", **ASK)
        next(running)
        with Client(server.address, retries=None) as impatient, pytest.raises(Overloaded) as told:
            list(impatient.stream(b"\0", **ASK))
        assert told.value.retry_after == 1.0
        threading.Timer(0.2, gate.may_end.set).start()
        patient_one = threading.Thread(target=lambda: list(running))
        patient_one.start()
        assert isinstance(list(client.stream(b"\0", **ASK))[-1], Finished)
        patient_one.join(SOON_SECONDS)
