"""What can go wrong, as one small tree; every error carries the gRPC status behind it.

SalienceError
├── InvalidRequest      something in the request is wrong; the same request will always fail
├── NotFound            the model or version asked for is not served
├── AccessDenied        the server does not know the caller, or does not let it do this
├── NotPossible         the model, as it was exported, cannot answer this
├── Unsupported         a form that can be said but that this server does not answer
├── Overloaded          the server is full, or a message is over its limit
├── DeadlineExceeded    time ran out before the answer was complete
├── Cancelled           the call was cancelled
├── Unavailable         the server cannot be reached, or is stopping
└── ServerFailed        the server or its device failed
    └── BrokenAnswer    the server's answer does not hold together

MissingExtra (an ImportError) says which optional packages a part of this library needs.
"""

import grpc

_Status = grpc.StatusCode


class SalienceError(Exception):
    """Anything that ends a request.

    Attributes:
        message: what was wrong, the limit and the remedy, in one line.
        code: the gRPC status.
        retryable: True where the same request may succeed later.
    """

    default_code: grpc.StatusCode = _Status.UNKNOWN
    retryable: bool = False

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class InvalidRequest(SalienceError):
    """Something in the request is wrong; the same request will always fail."""

    default_code = _Status.INVALID_ARGUMENT


class NotFound(SalienceError):
    """The model or version asked for is not served."""

    default_code = _Status.NOT_FOUND


class AccessDenied(SalienceError):
    """The server does not know the caller, or does not let it do this."""

    default_code = _Status.PERMISSION_DENIED


class NotPossible(SalienceError):
    """The model, as it was exported, cannot answer this; the message says what would help."""

    default_code = _Status.FAILED_PRECONDITION


class Unsupported(SalienceError):
    """A form that can be said but that this server does not answer (yet)."""

    default_code = _Status.UNIMPLEMENTED


class Overloaded(SalienceError):
    """The server is full: try again later. Or a message is over its limit: the text says so."""

    default_code = _Status.RESOURCE_EXHAUSTED
    retryable = True


class DeadlineExceeded(SalienceError):
    """Time ran out before the answer was complete; `timeout=` gives it more."""

    default_code = _Status.DEADLINE_EXCEEDED


class Cancelled(SalienceError):
    """The call was cancelled, by the caller or by the server."""

    default_code = _Status.CANCELLED


class Unavailable(SalienceError):
    """The server cannot be reached, or is stopping."""

    default_code = _Status.UNAVAILABLE
    retryable = True


class ServerFailed(SalienceError):
    """The server or its device failed while it worked on this."""

    default_code = _Status.INTERNAL


class BrokenAnswer(ServerFailed):
    """The server's answer does not hold together: a piece is missing, doubled or misplaced."""

    default_code = _Status.DATA_LOSS


class MissingExtra(ImportError):
    """Optional packages are not installed; the message names the extra that brings them."""


ERROR_OF_STATUS: dict[grpc.StatusCode, type[SalienceError]] = {
    _Status.CANCELLED: Cancelled,
    _Status.UNKNOWN: ServerFailed,
    _Status.INVALID_ARGUMENT: InvalidRequest,
    _Status.DEADLINE_EXCEEDED: DeadlineExceeded,
    _Status.NOT_FOUND: NotFound,
    _Status.ALREADY_EXISTS: InvalidRequest,
    _Status.PERMISSION_DENIED: AccessDenied,
    _Status.RESOURCE_EXHAUSTED: Overloaded,
    _Status.FAILED_PRECONDITION: NotPossible,
    _Status.ABORTED: Unavailable,
    _Status.OUT_OF_RANGE: InvalidRequest,
    _Status.UNIMPLEMENTED: Unsupported,
    _Status.INTERNAL: ServerFailed,
    _Status.UNAVAILABLE: Unavailable,
    _Status.DATA_LOSS: ServerFailed,
    _Status.UNAUTHENTICATED: AccessDenied,
}
"""The error of each gRPC status but OK."""

_STATUS_OF_NUMBER: dict[int, grpc.StatusCode] = {status.value[0]: status for status in _Status}


def error_of_number(number: int, message: str) -> SalienceError:
    """The error for a gRPC status number, 1 to 16; any other number is a ServerFailed."""
    status = _STATUS_OF_NUMBER.get(number, _Status.UNKNOWN)
    error = ERROR_OF_STATUS.get(status, ServerFailed)
    return error(message or status.name.lower().replace("_", " "), status)


def error_of_call(error: grpc.RpcError) -> SalienceError:
    """The error for a call that gRPC (sync or asyncio) says has failed."""
    return error_of_number(error.code().value[0], error.details() or "")
