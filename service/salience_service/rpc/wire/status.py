"""Errors as statuses: one table, and what a caller is told of each."""

import logging
import uuid
from collections.abc import Mapping

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from salience.v1 import explanation_service_pb2 as pb
from salience_service import errors
from salience_service.rpc.wire.details import (
    FIELD_BYTES,
    NAME_BYTES,
    cut,
    details_of,
    retry_after,
)

CODES: Mapping[type[errors.SalienceError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.NotPossible: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoFinding: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.QuotaExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    # Not UNAVAILABLE: that asks clients to send again, and rows that broke the
    # device once would break it for the neighbours again.
    errors.ComputeFailed: grpc.StatusCode.INTERNAL,
    errors.BundleRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConfigRefused: grpc.StatusCode.FAILED_PRECONDITION,
}
MESSAGE_BYTES = 1024
"""A message beyond this is cut: statuses travel in headers, which carry 8 KiB in all."""

_log = logging.getLogger(__name__)


def code_of(error: BaseException) -> int:
    """The gRPC status code of an error, as a number; INTERNAL for anything unknown."""
    number: int = _code(error).value[0]
    return number


def status_of(error: BaseException) -> status_pb2.Status:
    """What a caller is told: code, message, and details (`rpc/wire/details.py`)."""
    told = _told(error)
    message = cut(str(told), MESSAGE_BYTES)
    return status_pb2.Status(code=code_of(told), message=message, details=details_of(told, message))


def grpc_status(error: BaseException) -> grpc.Status:
    """The same for `context.abort_with_status`."""
    return rpc_status.to_status(status_of(error))


def request_error_of(error: BaseException) -> pb.RequestError:
    """The same for one of many requests."""
    told = _told(error)
    resource = told.resource or errors.Resource("", "")
    return pb.RequestError(
        code=code_of(told),
        message=cut(str(told), MESSAGE_BYTES),
        reason=type(told).__name__,
        field=cut(told.field, FIELD_BYTES),
        retry_after_seconds=retry_after(told),
        resource_kind=cut(resource.kind, NAME_BYTES),
        resource_name=cut(resource.name, NAME_BYTES),
    )


def _told(error: BaseException) -> errors.SalienceError:
    """Of an error outside our family nothing is told but a number to find it in the log."""
    if isinstance(error, errors.SalienceError):
        return error
    reference = uuid.uuid4().hex[:12]
    _log.error("request %s failed", reference, exc_info=error)
    return errors.ComputeFailed(f"the server failed; its log has it as {reference}")


def _code(error: BaseException) -> grpc.StatusCode:
    known = (CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    return next(known, grpc.StatusCode.INTERNAL)
