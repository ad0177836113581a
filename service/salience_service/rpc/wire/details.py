"""The details of an error as google.rpc messages: why, in which field, what about, when again.

Of our own making are the reason (the error's name) and the domain; the forms are those of
https://google.aip.dev/193. All of them together stay below 4 KiB.
"""

from collections.abc import Iterator

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from salience_service import errors

DOMAIN = "salience"
FIELD_BYTES = 256
NAME_BYTES = 256
DESCRIPTION_BYTES = 512
"""With two of the others and what frames them about 2 KiB: in base64 and beside a message of
1 KiB, which its percents may treble, it stays within the 8 KiB of headers that gRPC takes."""
LATER_SECONDS = 1.0
"""When to come again where the error does not say: most explanations take less."""
LONGEST_SECONDS = 24 * 3600.0
_COME_AGAIN = (errors.Overloaded, errors.Unavailable)


def details_of(error: errors.SalienceError, message: str) -> list[Any]:
    """What can be said of an error beyond its code and message.

    Args:
        error: its name, field, resource and delay are told.
        message: as it is told; it stands beside the field.
    """
    return [_packed(detail) for detail in _details(error, message)]


def retry_after(error: errors.SalienceError) -> float | None:
    """Seconds after which the same request may succeed; None where it never will."""
    if error.retry_after is not None:
        return min(max(error.retry_after, 0.0), LONGEST_SECONDS)
    return LATER_SECONDS if isinstance(error, _COME_AGAIN) else None


def cut(text: str, most: int) -> str:
    """The text in at most so many bytes of UTF-8, which an ellipsis ends where it is cut."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - 3].decode("utf-8", "ignore") + "…"


def _details(error: errors.SalienceError, message: str) -> Iterator[Message]:
    yield error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=DOMAIN)
    if error.field:
        yield _bad_request(error.field, message)
    if error.resource:
        yield _resource(error.resource, message)
    seconds = retry_after(error)
    if seconds is not None:
        yield error_details_pb2.RetryInfo(retry_delay=_duration(seconds))


def _bad_request(field: str, message: str) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=cut(field, FIELD_BYTES), description=cut(message, DESCRIPTION_BYTES)
    )
    return error_details_pb2.BadRequest(field_violations=[violation])


def _resource(resource: errors.Resource, message: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type=cut(resource.kind, NAME_BYTES),
        resource_name=cut(resource.name, NAME_BYTES),
        description=cut(message, DESCRIPTION_BYTES),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
