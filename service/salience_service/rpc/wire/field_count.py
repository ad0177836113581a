"""How many fields a message holds, counted in its bytes before they are decoded.

Two bytes of an empty submessage become eighty of memory: 32 MiB of them, the limit of a message,
are 1.3 GiB and hold up the event loop for seconds. What is large in a good message is one field:
an image, a tensor in raw or packed numbers.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from salience_service.errors import InvalidRequest

MOST_FIELDS = 65_536
"""Of a message and all within it. 64 methods of 64 options and 64 taps each come to 25,000."""
_VARINT, _EIGHT_BYTES, _PREFIXED, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types, https://protobuf.dev/programming-guides/encoding; groups have but their keys."""
_GROWING = frozenset(
    (
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_ENUM,
    )
)
"""Of packed numbers: a byte of them becomes four or eight of memory. No good message holds many;
uint32 is not among them, in which pixels come by the million."""
_LONGEST_VARINT, _GOES_ON = 10, bytes(range(0x80, 0x100))
_LAST_SHIFT = 63 - 7
"""Of the last byte of a varint that another may follow."""


class CountFields(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Has the fields of every message counted before it is decoded."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """The call's handler, with a reader that counts first."""
        handler = await continuation(details)
        if handler is None or handler.request_deserializer is None:
            return handler
        return handler._replace(request_deserializer=_counting(handler, details.method))


def _counting(handler: Any, rpc: str) -> Callable[[bytes], Any]:
    name = rpc.strip("/").replace("/", ".")
    kind = descriptor_pool.Default().FindMethodByName(name).input_type

    def read(data: bytes) -> Any:
        check_field_count(data, kind)
        return handler.request_deserializer(data)

    return read


def check_field_count(data: bytes, kind: Descriptor) -> None:
    """Refuses bytes with more fields than any good message has; damaged ones are for the decoder.

    Raises:
        InvalidRequest: there are more than MOST_FIELDS.
    """
    try:
        left = _left(data, 0, len(data), kind, MOST_FIELDS)
    except IndexError:  # They end within a field, or a number in them has no end.
        return
    if left < 0:
        raise InvalidRequest(
            f"the message holds more than {MOST_FIELDS} fields, the limit: send images and tensors "
            "whole, as bytes or as packed numbers"
        )


def _left(data: bytes, at: int, end: int, kind: Descriptor, left: int) -> int:
    """How many fields may still come after those from `at` to `end`; below 0: they were too many"""
    while at < end and left >= 0:
        left -= 1
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _PREFIXED:
            length, at = _varint(data, at)
            field, stop = kind.fields_by_number.get(key >> 3), min(at + length, end)
            if field is not None and field.message_type is not None:
                left = _left(data, at, stop, field.message_type, left)
            elif field is not None and field.is_repeated and field.type in _GROWING:
                left -= _numbers(data, at, stop, left)
            at += length
        else:
            at += {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire, 0)
    return left


def _numbers(data: bytes, at: int, end: int, left: int) -> int:
    """How many varints are packed there, or more than `left`: each ends in a byte below 0x80."""
    if end - at > _LONGEST_VARINT * left:
        return left + 1
    return len(data[at:end].translate(None, _GOES_ON))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number there, and where the next thing is.

    Raises:
        IndexError: it has no end here, or more than the ten bytes that a varint may have.
    """
    value = shift = 0
    while data[at] & 0x80:
        if shift > _LAST_SHIFT:  # Of a megabyte of such bytes the sum alone would take minutes.
            raise IndexError
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
