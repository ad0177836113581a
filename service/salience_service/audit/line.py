"""A line of a trail: JSON that holds its number, the seal of the line before, and its own seal.

The seal is HMAC-SHA256 over the line's bytes up to it. Whoever has not the key can neither
change a line nor put one in; and since each line holds the seal of the one before, can neither
take one out nor change their order.
"""

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from salience_service.audit.keys import digest
from salience_service.nesting import not_deep

ORIGIN = "0" * 64
"""What stands for the seal of the line before the first."""
MAX_LINE_BYTES = 16 * 2**20
"""Of a line that is read. A map takes 70 bytes of it, and 64 methods of 2,048 targets 9 MB."""
_OWN = frozenset({"number", "before", "kind", "seal"})
_FORM = re.compile(rb'(\{.*),"seal":"([0-9a-f]{64})"\}')


class Kind(StrEnum):
    """What a line tells."""

    HEAD = "head"
    """The first of every file."""
    TAIL = "tail"
    """The last of every file that was finished."""
    RECOVERED = "recovered"
    """The server ended without finishing the file, and goes on here."""
    BEGAN = "began"
    """An explanation was let in; nothing was answered yet."""
    ENDED = "ended"
    """An explanation ended, or was refused."""
    ACTION_BEGAN = "action_began"
    """An administrator's action is about to be done."""
    ACTION_ENDED = "action_ended"
    """An administrator's action was done, or failed."""
    PREDICTED = "predicted"
    """A plain prediction ended."""
    TURNED_AWAY = "turned_away"
    """A call of a known caller, or a request in it, was turned away and became nothing else; or
    many alike were, of which only the number is told."""


@dataclass(frozen=True)
class Line:
    """A line that was read.

    Attributes:
        number: in the whole trail, from 1. before: seal of the line before. seal: its own.
        kind: what it tells. fields: all that it holds.
        genuine: whether its seal is that of its bytes.
    """

    number: int
    before: str
    seal: str
    kind: str
    fields: Mapping[str, Any]
    genuine: bool


def written(
    key: bytes, number: int, before: str, kind: Kind, fields: Mapping[str, object]
) -> tuple[bytes, str]:
    """A line's bytes, its end of line included, and its seal."""
    assert not _OWN & fields.keys()  # JSON would hold them twice.
    content = {"number": number, "before": before, "kind": kind.value, **fields}
    open_text = json.dumps(content, separators=(",", ":"), allow_nan=False)[:-1].encode("ascii")
    seal = digest(key, [open_text]).hex()
    return open_text + f',"seal":"{seal}"}}\n'.encode("ascii"), seal


def read(key: bytes, text: bytes) -> Line | None:
    """The line in these bytes, without their end of line; None where they are none."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    try:
        fields = json.loads(not_deep(text))
        number, before, kind = fields["number"], fields["before"], fields["kind"]
    except (ValueError, KeyError, TypeError):
        return None
    if not (type(number) is int and isinstance(before, str) and isinstance(kind, str)):
        return None
    seal = form[2].decode()
    genuine = hmac.compare_digest(digest(key, [form[1]]).hex(), seal)
    return Line(number, before, seal, kind, fields, genuine)
