"""Where a trail ends: read when a server starts, so that it goes on there and nowhere else."""

import hashlib
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from salience_service.audit.files import Unreadable, file_numbers, file_path, lines_of
from salience_service.audit.line import ORIGIN, Kind, Line
from salience_service.errors import ConfigRefused

_Found = Line | Unreadable | None
_REMEDY = (
    "see what `salience audit verify` says, keep the directory as it is, and begin a trail in "
    "a new one"
)


@dataclass(frozen=True)
class Ending:
    """The end of a trail.

    Attributes:
        number: of the last line; 0 = there is none. seal: its seal. file: the number of its file.
        finished: whether the file was, so that the next line goes into a new one.
        torn: bytes of a line that was not written whole.
        oldest: number of the oldest file that the server has kept.
        lead: what must be written before the next line, for it to begin one.
    """

    number: int
    seal: str
    file: int
    finished: bool = False
    torn: bytes = b""
    oldest: int = 1
    lead: bytes = b""

    @property
    def anchor(self) -> str:
        """What proves later that the trail had come so far."""
        return f"{self.number}:{self.seal}"

    @property
    def torn_digest(self) -> str:
        """SHA-256 of the torn bytes in hex; empty where there are none."""
        return hashlib.sha256(self.torn).hexdigest() if self.torn else ""


def ending_of(directory: Path, key: bytes, begun: int) -> Ending:
    """Where the trail in a directory ends.

    Args:
        directory: of the trail.
        key: of the chain.
        begun: number of the newest file that was begun there, as far as is known.

    Raises:
        ConfigRefused: that file is not there, or the newest does not end in a line that this key
            wrote, but for one that is cut short, as a crash leaves it.
        OSError: it cannot be read.
    """
    newest = max(file_numbers(directory), default=0)
    if newest < begun:
        raise ConfigRefused(
            f"the audit trail's newest file, {begun}, is not there: bring it back from where it "
            f"was moved; if it is lost, {_REMEDY}"
        )
    if not newest:
        return Ending(0, ORIGIN, 0, finished=True)
    path = file_path(directory, newest)
    head, last, torn = _ends_of(path, key)
    if not (_is_good(head) and _is_good(last) and head.kind == Kind.HEAD):
        raise ConfigRefused(
            f"the audit trail's file {newest} was changed, or the key is another: {_REMEDY}"
        )
    finished = last.kind == Kind.TAIL
    if finished and torn:
        raise ConfigRefused(f"the audit trail's file {newest} goes on behind its end: {_REMEDY}")
    lead = b"" if _last_byte(path) == b"\n" else b"\n"
    oldest = int(head.fields["oldest"])
    return Ending(last.number, last.seal, newest, finished, torn, oldest, lead)


def _ends_of(path: Path, key: bytes) -> tuple[_Found, _Found, bytes]:
    """The first line, the last, and the bytes of one that is not whole behind it."""
    lines = lines_of(path, key)
    head = next(lines, None)
    last = deque[_Found]([head, *deque(lines, maxlen=2)])
    torn = b""
    if isinstance(last[-1], Unreadable) and not last[-1].ended and len(last) > 1:
        torn = last[-1].content
        last.pop()
    return head, last[-1], torn


def _is_good(found: _Found) -> TypeGuard[Line]:
    return isinstance(found, Line) and found.genuine


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1)
