"""A TCP forwarder between client and server: it drops connections, holds them half open, delays."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RESET = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER of no time: closing sends RST, as from a machine that lost its memory."""


class Forwarder:
    """Forwards every connection to a server, until it is told otherwise.

    Args:
        server: HOST:PORT to forward to; may be set anew.

    Attributes:
        address: where clients connect.
        delay: seconds by which every piece is late.
        accepted: how many connections came.
        left: how many of them their caller closed.
    """

    def __init__(self, server: str) -> None:
        self.server, self.delay, self.accepted, self.left = server, 0.0, 0, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._held: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Resets every connection there is."""
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()

    def hold(self) -> None:
        """Keeps every connection there is open, and lets nothing through it any more."""
        with self._lock:
            self._held |= self._open

    def close(self) -> None:
        """Ends it all."""
        self._listening.close()
        self.drop()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                self.accepted += 1
                self._connect(caller)

    def _connect(self, caller: socket.socket) -> None:
        host, _, port = self.server.rpartition(":")
        try:
            server = socket.create_connection((host, int(port)), timeout=5)
        except OSError:
            caller.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {caller, server}
        threading.Thread(target=self._forward_to_server, args=(caller, server), daemon=True).start()
        threading.Thread(target=self._forward, args=(server, caller), daemon=True).start()

    def _forward_to_server(self, caller: socket.socket, server: socket.socket) -> None:
        self._forward(caller, server)
        self.left += 1

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                with self._lock:
                    held = source in self._held
                if not held:
                    sink.sendall(data)
        with self._lock:
            held = source in self._held
        if not held:
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def forwarding(server: str) -> Iterator[Forwarder]:
    """A forwarder while the block lasts."""
    forwarder = Forwarder(server)
    try:
        yield forwarder
    finally:
        forwarder.close()
