"""What can go wrong, as one small tree; every error carries the gRPC status behind it.

SalienceError
├── InvalidRequest      something in the request is wrong; the same request will always fail
├── NotFound            the model or version asked for is not served
├── AccessDenied        the server does not let the caller do this
│   ├── Unauthenticated     it does not know who calls
│   └── PermissionDenied    it knows the caller, who may not do this
├── NotPossible         the model, as it was exported, cannot answer this
│   └── NoFinding           the image has nothing of what was asked
├── Unsupported         a form that can be said but that this server does not answer
├── Overloaded          the server is full, or a message is over its limit
│   └── QuotaExceeded       the caller has used up their share
├── DeadlineExceeded    time ran out before the answer was complete
├── Cancelled           the call was cancelled
├── Unavailable         the server cannot be reached, or is stopping
└── ServerFailed        the server or its device failed
    └── BrokenAnswer    the server's answer does not hold together

MissingExtra (an ImportError) says which optional packages a part of this library needs.
"""

from typing import NamedTuple

import grpc

from salience.v1.explanation_service_pb2 import RequestError

LATE = "the deadline passed before the answer was complete"
CLOSED = "the client was closed"
_Status = grpc.StatusCode


class Resource(NamedTuple):
    """What an error is about: its kind, such as "model", and its name."""

    kind: str
    name: str


class SalienceError(Exception):
    """Anything that ends a request.

    Attributes:
        message: what was wrong, the limit and the remedy, in one line.
        code: the gRPC status.
        retryable: True where the same request may succeed later.
        field: what in the request is at fault, by the names of the contract, such as
            "methods[1].options.steps"; empty where it is no one field.
        retry_after: seconds after which the server says the same request may succeed, or None.
        resource: what was not found or not allowed, or None.
    """

    default_code: grpc.StatusCode = _Status.UNKNOWN
    retryable: bool = False

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode | None = None,
        *,
        field: str = "",
        retry_after: float | None = None,
        resource: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self.retry_after = retry_after
        self.resource = None if resource is None else Resource(*resource)


class InvalidRequest(SalienceError):
    """Something in the request is wrong; the same request will always fail."""

    default_code = _Status.INVALID_ARGUMENT


class NotFound(SalienceError):
    """The model or version asked for is not served."""

    default_code = _Status.NOT_FOUND


class AccessDenied(SalienceError):
    """The server does not let the caller do this."""

    default_code = _Status.PERMISSION_DENIED


class Unauthenticated(AccessDenied):
    """The server does not know who calls: give a token or a certificate that it takes."""

    default_code = _Status.UNAUTHENTICATED


class PermissionDenied(AccessDenied):
    """The server knows the caller, who may not do this."""


class NotPossible(SalienceError):
    """The model, as it was exported, cannot answer this; the message says what would help.

    Also where its numbers overflow on what was asked.
    """

    default_code = _Status.FAILED_PRECONDITION


class NoFinding(NotPossible):
    """The image has nothing of what was asked, such as a class above its threshold.

    The request is right: what the model says of the image is told before, as `Prediction`.
    """


class Unsupported(SalienceError):
    """A form that can be said but that this server does not answer (yet)."""

    default_code = _Status.UNIMPLEMENTED


class Overloaded(SalienceError):
    """The server is full: try again later. Or a message is over its limit: the text says so."""

    default_code = _Status.RESOURCE_EXHAUSTED
    retryable = True


class QuotaExceeded(Overloaded):
    """The caller has used up their share; `retry_after` says when there is more."""


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
    _Status.PERMISSION_DENIED: PermissionDenied,
    _Status.RESOURCE_EXHAUSTED: Overloaded,
    _Status.FAILED_PRECONDITION: NotPossible,
    _Status.ABORTED: Unavailable,
    _Status.OUT_OF_RANGE: InvalidRequest,
    _Status.UNIMPLEMENTED: Unsupported,
    _Status.INTERNAL: ServerFailed,
    _Status.UNAVAILABLE: Unavailable,
    _Status.DATA_LOSS: ServerFailed,
    _Status.UNAUTHENTICATED: Unauthenticated,
}
"""The error of each gRPC status but OK."""

_STATUS_OF_NUMBER: dict[int, grpc.StatusCode] = {status.value[0]: status for status in _Status}
_OF_REASON: dict[str, type[SalienceError]] = {
    "NoFinding": NoFinding,
    "QuotaExceeded": QuotaExceeded,
}
"""Errors that share their status with another, by the name the server gives them."""


def error_of_message(told: RequestError) -> SalienceError:
    """What a server tells of a request that failed; a number that is no status: a ServerFailed."""
    status = _STATUS_OF_NUMBER.get(told.code, _Status.UNKNOWN)
    kind = ERROR_OF_STATUS.get(status, ServerFailed)
    named = _OF_REASON.get(told.reason, kind)
    kind = named if issubclass(named, kind) else kind
    resource = (told.resource_kind, told.resource_name) if told.resource_kind else None
    return kind(
        told.message or status.name.lower().replace("_", " "),
        status,
        field=told.field,
        retry_after=told.retry_after_seconds if told.HasField("retry_after_seconds") else None,
        resource=resource,
    )


def message_of_error(error: SalienceError) -> RequestError:
    """The way back."""
    kind, name = error.resource or ("", "")
    return RequestError(
        code=error.code.value[0],
        message=error.message,
        reason=type(error).__name__,
        field=error.field,
        retry_after_seconds=error.retry_after,
        resource_kind=kind,
        resource_name=name,
    )
