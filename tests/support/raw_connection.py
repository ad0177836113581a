"""Connections without a gRPC client: raw HTTP/2 frames, and a proxy that can swallow bytes."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
"""Types of frames, RFC 9113."""
MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 3, 6
"""Settings."""
ACKNOWLEDGED = 1


@dataclass(frozen=True)
class Frame:
    """One HTTP/2 frame."""

    kind: int
    flags: int
    payload: bytes

    def settings(self) -> dict[int, int]:
        """Of a SETTINGS frame."""
        return dict(struct.iter_unpack(">HI", self.payload))


class RawConnection:
    """A TCP connection to a server; speaks HTTP/2 once `begin` is called, and answers pings."""

    def __init__(self, address: str, seconds: float) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), seconds)
        self._socket.settimeout(seconds)

    def begin(self) -> None:
        self._socket.sendall(PREFACE + _frame(SETTINGS, 0, b""))

    def frames(self) -> Iterator[Frame]:
        """What the server sends until it closes the connection; TimeoutError where it is silent."""
        while head := self._read(9):
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            frame = Frame(kind, flags, self._read(length))
            if kind == PING and not flags & ACKNOWLEDGED:
                self._socket.sendall(_frame(PING, ACKNOWLEDGED, frame.payload))
            yield frame

    def ping(self, times: int = 1) -> None:
        """Asks whether the server is there, so many times at once."""
        self._socket.sendall(times * _frame(PING, 0, bytes(8)))

    def close(self) -> None:
        self._socket.close()

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                piece = self._socket.recv(length - len(data))
            except ConnectionResetError:
                return b""
            if not piece:
                return b""
            data += piece
        return data


@contextmanager
def raw_connection(address: str, seconds: float = 10) -> Iterator[RawConnection]:
    """A raw connection, closed at the end; nothing of it waits longer than `seconds`."""
    connection = RawConnection(address, seconds)
    try:
        yield connection
    finally:
        connection.close()


@dataclass
class Swallower:
    """A proxy to a server. Told to swallow, it reads on and passes nothing on: a half-open
    connection, as a firewall or a pulled cable leaves it."""

    server: str
    address: str = ""
    _swallows: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)

    def swallow(self) -> None:
        self._swallows.set()

    def _serve(self, listener: socket.socket) -> None:
        host, _, port = self.server.rpartition(":")
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection((host, int(port)))
            self._sockets += near, far
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    sink.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@contextmanager
def swallower(server: str) -> Iterator[Swallower]:
    """A proxy on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Swallower(server, f"127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=proxy._serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            proxy.close()


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 0]) + payload
