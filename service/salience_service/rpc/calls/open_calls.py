"""Calls that are open to all: their places, and how long their messages are waited for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc

from salience_service.access.client import Client, address_of
from salience_service.access.principal import ANONYMOUS
from salience_service.access.turnstile import Turnstile
from salience_service.errors import InvalidRequest, Overloaded, Unsupported
from salience_service.rpc.calls.call import heard
from salience_service.rpc.calls.exchange import Patience
from salience_service.rpc.calls.rights import WATCH

LONGEST_OPEN_MESSAGE = 4096
"""Bytes of a message that is decoded for strangers: a name and its head."""
LONGEST_WAIT_SECONDS = 2.0
"""For the message of an open call: a few bytes, which come with the call's head."""
MOST_HALF_SENT, MOST_HALF_SENT_EACH = 16, 8
"""Open calls whose message has not come, in all and of one address. Of each gRPC may hold as much
as the longest message of any call, by default 32 MiB: it knows no other limit for some of them."""
AT_ONCE_SECONDS = 0.2
"""In which a message has come that was sent whole with its call, on a busy machine too."""


class OpenCalls:
    """Owns what all calls together are granted that strangers may make.

    They are counted by address, whoever makes them: a watch stays open, and strangers have no
    other name.

    Args:
        running: counts them, each until it ends.
    """

    def __init__(self, running: Turnstile) -> None:
        self._running = running
        self._half_sent = Turnstile("half-sent health calls", MOST_HALF_SENT, MOST_HALF_SENT_EACH)

    @contextmanager
    def entered(self, path: str, context: Any) -> Iterator[Callable[[], Awaitable[Any]]]:
        """A place for a call while the block lasts; gives what its messages are to be read by.

        Raises:
            Overloaded: there is none, or none for a message that is late.
            Unsupported: the same of a watch. gRPC's clients take that for a server that has no
                health to tell and ask on, anything else for one that is not healthy: strangers'
                watches would keep them out.
        """
        client = Client(ANONYMOUS.name, address_of(context.peer()))
        try:
            with self._running.entered(client):
                yield lambda: self._read(context, client)
        except Overloaded as full:
            if path != WATCH:
                raise
            raise Unsupported(
                "too many watches are open, in all or of this address; close some, or use Check"
            ) from full

    async def _read(self, context: Any, client: Client) -> Any:
        """The next message; takes a place among the half-sent only where it is not there at once.

        Raises:
            Overloaded: there is no such place.
            InvalidRequest: it is longer than any of these calls needs.
        """
        reading = asyncio.ensure_future(context.read())
        reading.add_done_callback(heard)
        try:
            await asyncio.wait([reading], timeout=AT_ONCE_SECONDS)
            if not reading.done():
                with self._half_sent.entered(client):
                    await reading
            data = reading.result()
        finally:
            reading.cancel()
        if data is not grpc.aio.EOF and len(data) > LONGEST_OPEN_MESSAGE:  # type: ignore[attr-defined]
            raise InvalidRequest(
                f"{len(data)} bytes: this call takes at most {LONGEST_OPEN_MESSAGE}"
            )
        return data


def shortened(patience: Patience) -> Patience:
    """The patience with open calls, where this is the patience with others."""
    return replace(
        patience, sender=min(LONGEST_WAIT_SECONDS, patience.sender or LONGEST_WAIT_SECONDS)
    )
