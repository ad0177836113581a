"""The error of a call that gRPC says has failed, with the details in its trailing metadata."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from salience.v1.explanation_service_pb2 import RequestError
from salience_client.errors import CLOSED, LATE, Cancelled, SalienceError, error_of_message

DETAILS_KEY = "grpc-status-details-bin"
"""Where gRPC carries a google.rpc.Status."""
_WORDLESS = (None, "", "CANCELLED")
"""What gRPC says of a call that was cancelled from afar by nobody in particular."""
_NOT_SENT = "Internal error from Core"
"""What gRPC on asyncio says of a message that could not be sent, whatever ended the call."""
_LATE = "Deadline Exceeded"
"""What gRPC says of a deadline, alone or in brackets."""


@contextmanager
def translated_call(is_closed: Callable[[], bool]) -> Iterator[None]:
    """gRPC's errors of a blocking call become ours.

    A channel that was closed it calls a wrong value.

    Args:
        is_closed: whether the client is, asked once the call has failed.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise error_of_call(error) from error
    except ValueError as error:
        if is_closed():
            raise Cancelled(CLOSED) from error
        raise


def error_of_call(error: grpc.RpcError) -> SalienceError:
    """The error of a call, blocking or on asyncio.

    Details that cannot be read are left out: the code and the message stand without them.
    """
    told = RequestError(code=error.code().value[0], message=error.details() or "")
    with suppress(DecodeError):
        for packed in _status(error).details:
            _add(told, packed)
    if _was_late(told):
        told.message = LATE
    if _was_dropped(error, told):
        told.code = grpc.StatusCode.UNAVAILABLE.value[0]
        told.message = "the server ended the call: it stops"
    if _was_cut(error, told):
        told.code = grpc.StatusCode.UNAVAILABLE.value[0]
        told.message = "the connection broke while a message was sent"
    return error_of_message(told)


def _was_late(told: RequestError) -> bool:
    """Whether gRPC itself ended the call at its deadline: its words tell of its own streams."""
    late = told.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    return late and not told.reason and _LATE in told.message


def _was_dropped(error: grpc.RpcError, told: RequestError) -> bool:
    """Whether a server that stops left the call without a word, which gRPC calls CANCELLED."""
    cancelled = error.code() is grpc.StatusCode.CANCELLED
    return cancelled and not told.reason and error.details() in _WORDLESS


def _was_cut(error: grpc.RpcError, told: RequestError) -> bool:
    """Whether a message could not be sent, which gRPC on asyncio calls INTERNAL."""
    internal = error.code() is grpc.StatusCode.INTERNAL
    return internal and not told.reason and error.details() == _NOT_SENT


def _status(error: grpc.RpcError) -> Any:
    metadata: Any = error.trailing_metadata() or ()  # Pairs, which its types do not say.
    data = next((value for key, value in metadata if key == DETAILS_KEY), b"")
    return status_pb2.Status.FromString(data)


def _add(told: RequestError, packed: Any) -> None:
    for kind, read in _READERS.items():
        detail = kind()
        if packed.Unpack(detail):
            read(told, detail)


def _reason(told: RequestError, info: Any) -> None:
    told.reason = info.reason


def _field(told: RequestError, request: Any) -> None:
    for violation in request.field_violations[:1]:
        told.field = violation.field


def _resource(told: RequestError, info: Any) -> None:
    told.resource_kind, told.resource_name = info.resource_type, info.resource_name


def _retry(told: RequestError, info: Any) -> None:
    with suppress(OverflowError):  # A Duration holds 64 bits of seconds.
        told.retry_after_seconds = info.retry_delay.ToTimedelta().total_seconds()


_READERS: Mapping[Any, Callable[[RequestError, Any], None]] = {
    error_details_pb2.ErrorInfo: _reason,
    error_details_pb2.BadRequest: _field,
    error_details_pb2.ResourceInfo: _resource,
    error_details_pb2.RetryInfo: _retry,
}
