"""The door of a server: open while it takes new work; then each call is refused with the reason."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from salience_service.errors import SalienceError
from salience_service.rpc.calls.rights import HEALTH


class Door:
    """Whether new work is let in. On the event loop."""

    def __init__(self) -> None:
        self._because: SalienceError | None = None

    def close(self, because: SalienceError) -> None:
        """Lets nothing in from here on; who comes is told why."""
        self._because = because

    def check(self) -> None:
        """Raises what new work is refused with, where it is."""
        if self._because is not None:
            # One error for all calls: else it would keep the frames of each.
            raise self._because.with_traceback(None)

    @property
    def closed(self) -> bool:
        """Whether new work is refused."""
        return self._because is not None


class RefuseAtDoor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls that come to a closed door; health is answered as long as there is a server.

    Args:
        door: of the server.
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """The call's own handler, or one that refuses."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(f"/{HEALTH}/"):
            return handler
        if self._door.closed:
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        return handler

    async def _refuse(self, _: AsyncIterator[bytes], __: Any) -> None:
        """Ends a call of any kind at once: it waits for no message."""
        self._door.check()
