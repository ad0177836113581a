"""Bytes that are no message: refused by our table, where gRPC says UNKNOWN and names its parser."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from salience_service.errors import InvalidRequest

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
    """

    def __init__(self, service: str) -> None:
        self._prefix = f"/{service}/"

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, with a reader that does not fail."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith(self._prefix):
            return handler
        return handler._replace(request_deserializer=_reader(handler.request_deserializer))


def _reader(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return InvalidRequest(
                f"{len(data)} bytes cannot be read as a message of this call: they are damaged, "
                "a text in them is not UTF-8, or they follow another contract"
            )

    return read
