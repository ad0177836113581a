"""Bytes that are no message: refused by our table, where gRPC says UNKNOWN and names its parser.

So are those of a message that would take far more memory than they do.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from salience_service.errors import InvalidRequest
from salience_service.rpc.caller import current_caller, request_id
from salience_service.rpc.field_count import check_field_count
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
        method = descriptor_pool.Default().FindMethodByName(rpc.strip("/").replace("/", "."))

        def read(data: bytes) -> Any:
            try:
                check_field_count(data, method.input_type)
                return handler.request_deserializer(data)
            except InvalidRequest as error:
                return self._refused(error, rpc)
            except DecodeError:
                return self._refused(
                    InvalidRequest(
                        f"{len(data)} bytes cannot be read as a message of this call: they are "
                        "damaged, a text in them is not UTF-8, or they follow another contract"
                    ),
                    rpc,
                )

        return read

    def _refused(self, error: InvalidRequest, rpc: str) -> InvalidRequest:
        name = current_caller().name  # Messages are read where the call is answered.
        self._witness.refused(Refusal(type(error).__name__, request_id(), name, rpc))
        return error
