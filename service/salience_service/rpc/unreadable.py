"""Bytes that are no message: refused by our table, where gRPC says UNKNOWN and names its parser."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from salience_service.errors import InvalidRequest
from salience_service.telemetry.records import Refusal
from salience_service.telemetry.witness import NOBODY, Witness

T = TypeVar("T")
_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def readable(message: T | InvalidRequest) -> T:
    """The message, where there is one.

    Raises:
        InvalidRequest: the bytes could not be read.
    """
    if isinstance(message, InvalidRequest):
        raise message
    return message


class KeepUnreadable(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Hands the calls of one service a refusal in the place of a message that cannot be read.

    Args:
        service: its full name.
        witness: is told of every such message.
    """

    def __init__(self, service: str, witness: Witness = NOBODY) -> None:
        self._prefix = f"/{service}/"
        self._witness = witness

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, with a reader that does not fail."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith(self._prefix):
            return handler
        return handler._replace(request_deserializer=self._reader(handler, details.method))

    def _reader(self, handler: Any, rpc: str) -> Callable[[bytes], Any]:
        def read(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                self._witness.refused(Refusal(InvalidRequest.__name__, rpc=rpc))
                return InvalidRequest(
                    f"{len(data)} bytes cannot be read as a message of this call: they are "
                    "damaged, a text in them is not UTF-8, or they follow another contract"
                )

        return read
