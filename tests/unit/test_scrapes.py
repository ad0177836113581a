"""The metrics' port: who says nothing takes no room, and keeps nobody from the figures."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.request import urlopen

import pytest

from salience_service.telemetry.scrapes import ScrapeServer
from tests.support.waiting import SOON_SECONDS

MOST = 4
FIGURES = b"figures 1\n"


def _application(_: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [FIGURES]


@contextmanager
def serving(silent_seconds: float, host: str = "127.0.0.1") -> Iterator[ScrapeServer]:
    server = ScrapeServer(host, 0, _application, MOST, silent_seconds)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(SOON_SECONDS)


def connected(server: ScrapeServer) -> socket.socket:
    return socket.create_connection(server.server_address[:2], SOON_SECONDS)


def scraped(server: ScrapeServer) -> bytes:
    host = server.server_address[0]
    place = f"[{host}]" if ":" in str(host) else host
    with urlopen(f"http://{place}:{server.server_port}/metrics", timeout=SOON_SECONDS) as answer:
        data: bytes = answer.read()
        return data


def test_connections_that_say_nothing_go_when_others_come() -> None:
    before = threading.active_count()
    with serving(silent_seconds=600) as server, ExitStack() as stack:
        silent = [stack.enter_context(connected(server)) for _ in range(10 * MOST)]
        assert scraped(server) == FIGURES
        assert all(each.recv(1) == b"" for each in silent[: 9 * MOST])
        until = time.monotonic() + SOON_SECONDS
        while threading.active_count() > before + 1 + MOST:
            assert time.monotonic() < until, "threads are left of those who went"
            time.sleep(0.01)


def test_a_connection_that_says_nothing_for_too_long_is_closed() -> None:
    with serving(silent_seconds=1) as server, connected(server) as silent:
        silent.sendall(b"GET /metrics HTTP/1.0\r\n")  # and no end of it
        assert silent.recv(1) == b""


def test_a_connection_that_breaks_off_writes_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(silent_seconds=600) as server:
        broken = connected(server)
        broken.sendall(b"GET /metrics HTTP/1.0\r\n")
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        broken.close()
        assert scraped(server) == FIGURES
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_addresses_of_either_kind() -> None:
    try:
        with socket.socket(socket.AF_INET6) as own:
            own.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(silent_seconds=1, host="::1") as server:
        assert scraped(server) == FIGURES
