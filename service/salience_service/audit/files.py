"""The files of a trail in their directory: numbered from 1, and read line by line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from salience_service.audit.line import MAX_LINE_BYTES, Line, read

_NAME = re.compile(r"audit-([0-9]{8,})\.jsonl")


@dataclass(frozen=True)
class Unreadable:
    """Bytes that are no line.

    Attributes:
        content: without their end of line. ended: whether one followed.
    """

    content: bytes
    ended: bool


def file_path(directory: Path, number: int) -> Path:
    """Where the file of that number lies."""
    return directory / f"audit-{number:08}.jsonl"


def file_numbers(directory: Path) -> list[int]:
    """Numbers of the files there are, rising.

    Raises:
        OSError: the directory cannot be read.
    """
    found = (_NAME.fullmatch(entry.name) for entry in directory.iterdir())
    return sorted(int(each[1]) for each in found if each)


def lines_of(path: Path, key: bytes) -> Iterator[Line | Unreadable]:
    """Every line of a file, genuine or not, with what is none between them.

    Args:
        path: the file.
        key: of the chain.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        while text := stream.readline(MAX_LINE_BYTES):
            content = text.removesuffix(b"\n")
            ended = len(content) < len(text)
            line = read(key, content)
            # A line may lack its end where the server was killed, but then must be whole.
            yield line if line and (ended or line.genuine) else Unreadable(content, ended)
