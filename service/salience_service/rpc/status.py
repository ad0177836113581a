"""Errors as statuses: one table, and what a caller is told of each."""

import logging
import uuid
from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from salience_service import errors

CODES: Mapping[type[errors.SalienceError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.NotPossible: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    # Not UNAVAILABLE: that asks clients to send again, and rows that broke the
    # device once would break it for the neighbours again.
    errors.ComputeFailed: grpc.StatusCode.INTERNAL,
    errors.BundleRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConfigRefused: grpc.StatusCode.FAILED_PRECONDITION,
}
DOMAIN = "salience"
MESSAGE_BYTES = 1024
"""A message beyond this is cut: statuses travel in headers, which carry 8 KiB in all."""

_log = logging.getLogger(__name__)


def code_of(error: BaseException) -> int:
    """The gRPC status code of an error, as a number; INTERNAL for anything unknown."""
    number: int = _code(error).value[0]
    return number


def status_of(error: BaseException) -> status_pb2.Status:
    """What a caller is told: code, message, and the error's name as ErrorInfo.

    Of an error outside our family nothing is told but a number to find it in the log.
    """
    if isinstance(error, errors.SalienceError):
        return _status(error, str(error))
    reference = uuid.uuid4().hex[:12]
    _log.error("request %s failed", reference, exc_info=error)
    return _status(errors.ComputeFailed(), f"the server failed; its log has it as {reference}")


def grpc_status(error: BaseException) -> grpc.Status:
    """The same for `context.abort_with_status`."""
    return rpc_status.to_status(status_of(error))


def _status(error: errors.SalienceError, message: str) -> status_pb2.Status:
    details = any_pb2.Any()
    details.Pack(error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=DOMAIN))
    return status_pb2.Status(code=code_of(error), message=_cut(message), details=[details])


def _code(error: BaseException) -> grpc.StatusCode:
    known = (CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    return next(known, grpc.StatusCode.INTERNAL)


def _cut(message: str) -> str:
    data = message.encode("utf-8", "replace")
    if len(data) <= MESSAGE_BYTES:
        return message
    return data[: MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"
