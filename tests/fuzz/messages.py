"""Messages at random, by their descriptors: every field of a contract, with values at the edges."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_DEEPEST = 5
_INTEGERS = (0, 1, -1, 2, 3, 7, 8, 33, 64, 65, 255, 4097, 2**31 - 1, -(2**31), 2**53, 2**63 - 1)
_NUMBERS = (0.0, -0.0, 1.0, 0.5, -1.0, 1e-45, 1e-9, 3.5, 1e9, 1e38, 1e308, math.nan, math.inf)
_WORDS = ("", " ", "0", "-1", "../x", "a" * 600, "\0", "é", "💠", "%s%n", "tiny", "x-y", "not:")
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


@dataclass(frozen=True)
class Vocabulary:
    """What a field may say besides the edges.

    Attributes:
        words: names that the server knows. data: bytes that it can read.
    """

    words: Sequence[str]
    data: Sequence[bytes]


def disturb(message: Message, chance: random.Random, known: Vocabulary) -> None:
    """Changes one or two fields, anywhere in a message."""
    for _ in range(chance.randint(1, 2)):
        target = message
        for _ in range(chance.randint(0, _DEEPEST)):
            inside = _messages_in(target)
            if not inside:
                break
            target = chance.choice(inside)
        if target.DESCRIPTOR.fields:
            _set(target, chance.choice(target.DESCRIPTOR.fields), chance, known, 0)


def fill(message: Message, chance: random.Random, known: Vocabulary, depth: int = 0) -> None:
    """Sets about a third of all fields, and those of the messages in them."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 1 / 3:
            _set(message, field, chance, known, depth)


def _messages_in(message: Message) -> list[Message]:
    found: list[Message] = []
    for field, value in message.ListFields():
        if field.message_type is None or _is_map(field):
            continue
        found += [value] if not _is_many(field) else list(value)
    return found


def _set(
    message: Message, field: FieldDescriptor, chance: random.Random, known: Vocabulary, depth: int
) -> None:
    message.ClearField(field.name)
    if depth > _DEEPEST:
        return
    if _is_map(field):
        _set_map(getattr(message, field.name), field, chance, known, depth)
    elif _is_many(field):
        count = 70 if chance.random() < 0.02 else chance.randint(0, 3)
        many = getattr(message, field.name)
        for _ in range(count):
            if field.message_type is None:
                many.append(_scalar(field, chance, known))
            else:
                fill(many.add(), chance, known, depth + 1)
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        fill(inner, chance, known, depth + 1)
    else:
        setattr(message, field.name, _scalar(field, chance, known))


def _set_map(
    mapping: Any, field: FieldDescriptor, chance: random.Random, known: Vocabulary, depth: int
) -> None:
    assert field.message_type is not None
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    for _ in range(chance.randint(0, 3)):
        name = _scalar(key, chance, known)
        if value.message_type is None:
            mapping[name] = _scalar(value, chance, known)
        else:
            fill(mapping[name], chance, known, depth + 1)


def _scalar(field: FieldDescriptor, chance: random.Random, known: Vocabulary) -> Any:
    return _BY_TYPE.get(field.cpp_type, _integer)(field, chance, known)


def _integer(field: FieldDescriptor, chance: random.Random, _: Vocabulary) -> int:
    low, high = _RANGES[field.cpp_type]
    return min(max(chance.choice(_INTEGERS), low), high)


def _number(_: FieldDescriptor, chance: random.Random, __: Vocabulary) -> float:
    return chance.choice(_NUMBERS)


def _enum(field: FieldDescriptor, chance: random.Random, _: Vocabulary) -> int:
    assert field.enum_type is not None
    return chance.choice([*(value.number for value in field.enum_type.values), 99])


def _text(field: FieldDescriptor, chance: random.Random, known: Vocabulary) -> str | bytes:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice((*known.data, b"", b"\0", chance.randbytes(40)))
    return chance.choice((*known.words, *known.words, *_WORDS))


def _truth(_: FieldDescriptor, chance: random.Random, __: Vocabulary) -> bool:
    return chance.random() < 0.5


_BY_TYPE: Mapping[int, Callable[[FieldDescriptor, random.Random, Vocabulary], Any]] = {
    FieldDescriptor.CPPTYPE_FLOAT: _number,
    FieldDescriptor.CPPTYPE_DOUBLE: _number,
    FieldDescriptor.CPPTYPE_ENUM: _enum,
    FieldDescriptor.CPPTYPE_STRING: _text,
    FieldDescriptor.CPPTYPE_BOOL: _truth,
}


def _is_many(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
