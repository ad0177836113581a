"""The door of a server: open while it takes new work; then each call is refused with the reason."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from salience_service.errors import SalienceError
from salience_service.rpc.call import abort
from salience_service.rpc.caller import current_caller, request_id
from salience_service.telemetry.records import Refusal
from salience_service.telemetry.witness import NOBODY, Witness

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


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
            raise self._because


class RefuseAtDoor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls that come to a closed door; health is answered as long as there is a server.

    Args:
        door: of the server.
        witness: is told of every call refused.
    """

    def __init__(self, door: Door, witness: Witness = NOBODY) -> None:
        self._door, self._witness = door, witness

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """The call's own handler, or one that refuses."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(f"/{_HEALTH}/"):
            return handler
        try:
            self._door.check()
        except SalienceError as error:
            return self._refusing(error, details.method)
        return handler

    def _refusing(self, error: SalienceError, rpc: str) -> Any:
        """A handler that ends a call of any kind at once: it waits for no message."""
        reason = type(error).__name__

        async def refuse(_: AsyncIterator[bytes], context: Any) -> None:
            # Only where handlers run is it known who calls; strangers never come here.
            self._witness.refused(Refusal(reason, request_id(), current_caller().name, rpc))
            await abort(context, error)

        return grpc.stream_stream_rpc_method_handler(refuse)
