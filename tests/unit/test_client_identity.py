"""How a client shows who it is: tokens given anew, never told over an open line, never printed."""

import asyncio
import errno
import socket
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import explanation_service_pb2_grpc as pb_grpc
from salience_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidRequest,
    Tls,
    explain_request,
)
from tests.support import fake_answers as fake


class Servicer(pb_grpc.ExplanationServiceServicer):
    """Remembers what each call showed."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []

    def _note(self, context: grpc.ServicerContext) -> None:
        self.shown.append(dict(context.invocation_metadata()).get("authorization"))

    def Explain(self, request, context):  # noqa: N802
        self._note(context)
        yield from fake.simple_answer()

    def ExplainMany(self, requests, context):  # noqa: N802
        self._note(context)
        for request in requests:
            for response in fake.simple_answer():
                yield pb.ExplainManyResponse(tag=request.tag, response=response)

    def ListModels(self, request, context):  # noqa: N802
        self._note(context)
        return fake.listing()

    def DescribeModel(self, request, context):  # noqa: N802
        self._note(context)
        return fake.description()


@pytest.fixture
def server() -> Iterator[grpc.Server]:
    server = grpc.server(ThreadPoolExecutor(4))
    server.servicer = Servicer()
    pb_grpc.add_ExplanationServiceServicer_to_server(server.servicer, server)
    server.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield server
    server.stop(None).wait()


def _numbered() -> Iterator[str]:
    return (f"token-{number}" for number in range(100))


def test_every_call_shows_the_token_and_asks_a_function_anew(server):
    tokens = _numbered()
    with Client(server.address, token=lambda: next(tokens)) as client:
        client.models()
        client.describe("lite0")
        client.explain(b"png", model="lite0", methods="score-cam")
        list(client.explain_many([]))
    assert server.servicer.shown == [f"Bearer token-{number}" for number in range(4)]


def test_on_asyncio_the_function_may_be_asynchronous(server):
    tokens = _numbered()

    async def ask_for_one() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    async def ask() -> None:
        async with AsyncClient(server.address, token=ask_for_one) as client:
            await client.models()
            await client.describe("lite0")
            await client.explain(b"png", model="lite0", methods="score-cam")
            assert [each async for each in client.explain_many([])] == []

    asyncio.run(ask())
    assert server.servicer.shown == [f"Bearer token-{number}" for number in range(4)]


ASKED = {
    "explain": lambda client: client.stream(b"png", model="lite0", methods="score-cam"),
    "explain_many": lambda client: client.explain_many(
        [("a", explain_request(b"png", model="lite0", methods="score-cam"))], timeout=0.1
    ),
    "models": lambda client: client.models(),
    "describe": lambda client: client.describe("lite0"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_time_that_a_token_takes_is_the_calls(server, asked):
    def slow() -> str:
        time.sleep(0.2)
        return "late"

    client = Client(server.address, token=slow, timeout=0.1)
    with client, pytest.raises(DeadlineExceeded, match="the deadline passed"):
        list(ASKED[asked](client))
    assert server.servicer.shown == []


@pytest.mark.parametrize("asked", ASKED)
def test_on_asyncio_the_deadline_ends_the_wait_for_a_token(server, asked):
    async def never() -> str:
        await asyncio.Event().wait()

    async def ask() -> None:
        async with AsyncClient(server.address, token=never, timeout=0.1) as client:
            answer = ASKED[asked](client)
            async with asyncio.timeout(20):
                await (anext(answer) if hasattr(answer, "__anext__") else answer)

    with pytest.raises(DeadlineExceeded, match="the deadline passed"):
        asyncio.run(ask())
    assert server.servicer.shown == []


def test_a_token_functions_own_timeout_is_told_as_it_is(server):
    async def late() -> str:
        raise TimeoutError("no token from the identity provider")

    async def ask() -> None:
        async with AsyncClient(server.address, token=late) as client:
            await client.models()

    with pytest.raises(TimeoutError, match="identity provider"):
        asyncio.run(ask())


def test_without_a_token_nothing_is_shown(server):
    with Client(server.address) as client:
        client.models()
    assert server.servicer.shown == [None]


@pytest.mark.parametrize(
    "token", ["", "sec ret", "secret\n", "sécret", "sec\x00ret", "s" * 8193, 3]
)
def test_what_is_no_token_is_refused_without_its_text(server, token):
    with (
        Client(server.address, token=lambda: token) as client,
        pytest.raises(InvalidRequest, match="the token is none") as told,
    ):
        client.models()
    assert "ret" not in str(told.value)
    assert "sss" not in str(told.value)
    assert not server.servicer.shown


@pytest.mark.parametrize(
    "address",
    [
        "salience.hospital.example:50051",
        "dns:///salience.hospital.example:443",
        "10.0.0.7:50051",
        "localhost.example:1",
        "127.0.0.1.example:1",
        "ipv4:10.0.0.7:1",
        "ipv4:127.0.0.1:1,10.0.0.7:1",
        "ipv4:127.0.0.1:1,",
        "localhost:1,10.0.0.7:1",
        "[2001:db8::1]:1",
        "xds:///anything",
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_does_not_go_to_another_machine_unencrypted(address, kind):
    async def make():
        return kind(address, token="secret")

    with pytest.raises(InvalidRequest, match="tls=Tls") as told:
        asyncio.run(make())
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "localhost:1",
        "[::1]:1",
        "unix:/tmp/s",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1",
        "ipv4:127.0.0.1:1,127.0.0.1:2",
        "ipv6:[::1]:1,[::1]:2",
    ],
)
def test_a_token_may_go_to_this_machine_as_it_is(address):
    Client(address, token="secret").close()


def test_a_token_for_this_machine_goes_past_the_proxy_of_the_environment(server, monkeypatch):
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def ask() -> None:
        async with AsyncClient(server.address, token="secret", timeout=5) as client:
            await client.models()

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with Client(server.address, token="secret", timeout=5) as client:
            client.models()
        asyncio.run(ask())
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert server.servicer.shown == ["Bearer secret"] * 2


def test_a_token_may_go_to_another_machine_encrypted():
    Client("salience.hospital.example:443", token="secret", tls=Tls()).close()


def test_a_certificate_and_its_key_belong_together(tmp_path):
    for half in ({"certificate": b"x"}, {"key": b"x"}):
        with pytest.raises(InvalidRequest, match="give both"):
            Tls(**half)


def test_a_key_is_not_printed():
    assert "secret" not in repr(Tls(certificate=b"x", key=b"secret"))


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvSECRET\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("text", [PEM, Path(PEM)], ids=["str", "Path"])
@pytest.mark.parametrize("role", ["ca", "certificate", "key"])
def test_pem_text_in_the_place_of_its_path_is_refused_and_not_told(role, text):
    with pytest.raises(InvalidRequest, match="its path, or the PEM as bytes") as told:
        Tls(**{"certificate": b"x", "key": b"x", role: text})
    assert "SECRET" not in "".join(traceback.format_exception(told.value))


@pytest.mark.parametrize("key", ["MIIEvSECRET", "MIIEvSECRET" * 1000])
def test_a_key_in_the_place_of_its_path_is_not_told(key):
    with pytest.raises(OSError, match="the key's file: ") as told:
        Client("localhost:1", tls=Tls(certificate=b"x", key=key))
    assert told.value.errno in (errno.ENOENT, errno.ENAMETOOLONG)
    assert "SECRET" not in "".join(traceback.format_exception(told.value))


def test_a_file_that_is_not_there_is_an_os_error_at_once(tmp_path):
    with pytest.raises(OSError, match="none"):
        Client("localhost:1", tls=Tls(ca=tmp_path / "none"))
