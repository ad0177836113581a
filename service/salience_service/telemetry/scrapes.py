"""The HTTP port that Prometheus asks: few connections at a time, and none that says nothing."""

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

MOST = 16
"""Connections at a time. A scrape takes milliseconds: who is still there when so many came after
is slow on purpose, or gone."""
SILENT_SECONDS = 10.0
"""How long a connection may say nothing; as long as Prometheus itself waits by default."""

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
_log = logging.getLogger(__name__)


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread of its own; where they are too many, the oldest goes.

    Neither `prometheus_client`'s server nor the library's below it has a bound: a thousand
    connections that say nothing are a thousand threads, and all the files a process may open.

    Args:
        host: a name, or an address. port: 0 = any free one.
        application: answers.
        most: connections at a time, ≥ 1.
        silent_seconds: how long one may say nothing.

    Raises:
        OSError: nothing can listen there.
    """

    daemon_threads = True
    request_queue_size = 64
    """That wait to be taken in. The library has 5: a scrape that came among others took seconds."""

    def __init__(
        self,
        host: str,
        port: int,
        application: _Application,
        most: int = MOST,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self._most, self._silent_seconds = most, silent_seconds
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}
        super().__init__((str(place[0]), int(place[1])), _Quiet)
        self.set_app(application)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A new connection, in whose place the oldest goes where there are too many."""
        connection, address = super().get_request()
        connection.settimeout(self._silent_seconds)
        with self._lock:
            if len(self._open) >= self._most:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _hang_up(oldest)
            self._open[connection] = None
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection, whatever became of it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_bind(self) -> None:
        """Binds without asking the network what this machine is called, as the library would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """A connection that broke off is nothing to tell: the library would write its stack."""
        _log.debug("a connection to the metrics broke off", exc_info=True)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Strangers write no lines in the log."""


def _hang_up(connection: socket.socket) -> None:
    """Whoever reads it meets its end, and closes it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # It has ended by itself.
        return
