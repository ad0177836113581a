"""Encrypted ports: who gets a connection, mutual TLS, and certificates renewed while it serves."""

import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from salience_client import AccessDenied, Client, Tls, Unavailable
from salience_service.errors import ConfigRefused
from salience_service.rpc.server.server import Server
from tests.support.identity import HOST, Authority, token_file
from tests.support.serving import FakeEngine, calling_over, held, request, serving
from tests.support.waiting import SOON_SECONDS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def _names(server: Server, tls: Tls | None, token: str | None = None) -> list[str]:
    """The models that a caller is told of, over a connection of its own."""
    with Client(server.address, tls=tls, token=token, timeout=SOON_SECONDS, retries=None) as client:
        return [model.name for model in client.models()]


def test_who_trusts_the_ca_gets_answers(authority: Authority) -> None:
    with serving(FakeEngine(), tls=authority.tls_section()) as server:
        assert _names(server, Tls(authority.file)) == ["tiny"]
        assert _names(server, Tls(authority.file.read_bytes())) == ["tiny"]


def test_who_does_not_encrypt_or_trusts_another_ca_or_expects_another_name_gets_no_connection(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    with serving(FakeEngine(), tls=authority.tls_section()) as server:
        for tls in (None, Tls(), Tls(other.file), Tls(authority.file, server_name="else.example")):
            with pytest.raises(Unavailable):
                _names(server, tls)


def test_a_server_of_another_name_may_be_expected(authority: Authority) -> None:
    certificate, key = authority.issue("salience.hospital.example", name="named")
    section = {"certificate": str(certificate), "key": str(key)}
    with serving(FakeEngine(), tls=section) as server:
        named = Tls(authority.file, server_name="salience.hospital.example")
        assert _names(server, named) == ["tiny"]
        with pytest.raises(Unavailable):
            _names(server, Tls(authority.file))


def test_a_pair_that_does_not_hold_keeps_the_server_from_starting(authority: Authority) -> None:
    old, key = authority.issue(HOST, name="old", days=(-9, -1))
    with (
        pytest.raises(ConfigRefused, match=r"tls\.certificate expired at"),
        serving(FakeEngine(), tls={"certificate": str(old), "key": str(key)}),
    ):
        pass


@contextmanager
def _mutual(authority: Authority, tmp_path: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    tokens = token_file(tmp_path / "tokens", "pacs")
    access = {
        "tokens_file": str(tmp_path / "tokens"),
        "principals": [
            {"name": "gateway", "certificates": ["DNS:gateway.hospital.example"]},
            {"name": "pacs", "models": ["none"]},
        ],
    }
    section = authority.tls_section(client_ca=str(authority.file))
    with serving(FakeEngine(), tls=section, access=access) as server:
        yield server, tokens


def test_with_mutual_tls_a_certificate_is_needed_for_a_connection_and_its_name_for_an_answer(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").client("gateway.hospital.example")
    forged = Tls(authority.file, stranger.certificate, stranger.key)
    with _mutual(authority, tmp_path) as (server, tokens):
        known = authority.client("gateway.hospital.example")
        assert _names(server, known) == ["tiny"]
        assert _names(server, known, tokens["pacs"]) == [], "a token goes before the certificate"
        with pytest.raises(Unavailable):
            _names(server, authority.client())
        with pytest.raises(Unavailable):
            _names(server, forged)
        with pytest.raises(AccessDenied) as told:
            _names(server, authority.client("nurse.hospital.example"))
    assert told.value.code is grpc.StatusCode.UNAUTHENTICATED


def _serial(server: Server) -> int:
    """Of the certificate that a new connection is shown."""
    host, _, port = server.address.rpartition(":")
    pem = ssl.get_server_certificate((host, int(port)), timeout=SOON_SECONDS)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_a_renewed_certificate_is_shown_to_new_connections_and_open_calls_go_on(
    authority: Authority,
) -> None:
    may_end = threading.Event()

    section = authority.tls_section()
    engine = FakeEngine({"long": held(may_end)})
    with (
        serving(engine, tls=section) as server,
        calling_over(server, Tls(authority.file)) as stub,
    ):
        before = _serial(server)
        running = stub.Explain(request("long"))
        assert next(running).WhichOneof("event") == "started"
        authority.tls_section()
        assert _serial(server) != before
        may_end.set()
        assert [event.WhichOneof("event") for event in running] == ["finished"]


class Callers:
    """Threads that call without a pause until told to end: one on a connection that stays, two
    on a new one each time.

    Attributes:
        stayed: calls answered on the connection that stays. came: on new ones.
        failures: of any of them; each ends its thread.
    """

    def __init__(self, server: Server, tls: Tls) -> None:
        self.stayed, self.came, self.failures = 0, 0, list[BaseException]()
        self._server, self._tls, self._ended = server, tls, threading.Event()
        works = (self._stay, self._come, self._come)
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in works]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_newcomers(self, number: int) -> None:
        """Until so many more have come on new connections, or one could not."""
        until = self.came + number
        while self.came < until and not self.failures:
            self._ended.wait(0.01)

    def _stay(self) -> None:
        with Client(
            self._server.address, tls=self._tls, timeout=SOON_SECONDS, retries=None
        ) as client:
            while not self._ended.is_set():
                client.models()
                self.stayed += 1

    def _come(self) -> None:
        while not self._ended.is_set():
            assert _names(self._server, self._tls) == ["tiny"]
            self.came += 1

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.failures.append(error)


def test_certificates_change_under_load_and_no_call_fails(authority: Authority) -> None:
    """The pair is written one half after the other, over and over, while callers come and stay."""
    section, serials = authority.tls_section(), set()
    with (
        serving(FakeEngine(), tls=section) as server,
        Callers(server, Tls(authority.file)) as callers,
    ):
        for number in range(8):
            certificate, key = authority.issue(HOST, name=f"new-{number}")
            shutil.copy(certificate, str(section["certificate"]))
            callers.wait_for_newcomers(3)  # While one half alone is new.
            shutil.copy(key, str(section["key"]))
            serials.add(_serial(server))
    assert not callers.failures
    assert len(serials) == 8
    assert callers.stayed > 8


def test_a_new_client_ca_lets_its_clients_in_and_the_old_ones_out_from_the_next_connection_on(
    authority: Authority, tmp_path: Path
) -> None:
    callers = [Authority(tmp_path / name) for name in ("old", "new")]
    trusted = tmp_path / "clients.pem"
    shutil.copy(callers[0].file, trusted)
    shown = [Tls(authority.file, *caller.issue("any.example", name="client")) for caller in callers]
    with serving(FakeEngine(), tls=authority.tls_section(client_ca=str(trusted))) as server:
        assert _names(server, shown[0]) == ["tiny"]
        with pytest.raises(Unavailable):
            _names(server, shown[1])
        shutil.copy(callers[1].file, trusted)
        assert _names(server, shown[1]) == ["tiny"]
        with pytest.raises(Unavailable):
            _names(server, shown[0])


def test_a_pair_that_breaks_while_the_server_runs_is_told_in_the_log_and_the_old_one_stays(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    section = authority.tls_section()
    with serving(FakeEngine(), tls=section) as server:
        before = _serial(server)
        Path(str(section["key"])).write_text("nonsense", "utf-8")
        assert _serial(server) == before
        assert _names(server, Tls(authority.file)) == ["tiny"]
    assert "cannot be used; the last one stays" in caplog.text


def test_without_access_mutual_tls_lets_every_certificate_of_the_ca_explain(
    authority: Authority,
) -> None:
    section = authority.tls_section(client_ca=str(authority.file))
    with serving(FakeEngine(), tls=section) as server:
        assert _names(server, authority.client("anyone.example")) == ["tiny"]
