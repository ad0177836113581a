"""A trail in a directory, and what an attacker without its key can do to one."""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PosixPath

from salience_service.audit.files import file_numbers, file_path
from salience_service.audit.keys import AuditKeys
from salience_service.audit.line import Kind
from salience_service.audit.trail import Trail, Upkeep
from salience_service.audit.verify import Report, verify

KEYS = AuditKeys.of(b"k" * 32)
SMALL = Upkeep(rotate_bytes=4096, durable=False)


class Disk:
    """A disk that is full when that is said."""

    def __init__(self) -> None:
        self.full = threading.Event()

    def sync(self, descriptor: int) -> None:
        if self.full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)


def trail_of(
    directory: Path, upkeep: Upkeep = SMALL, key: bytes = KEYS.chain, **seams: object
) -> Trail:
    return Trail(directory, key, upkeep, **seams)


def written(directory: Path, lines: int, upkeep: Upkeep = SMALL, start: int = 0) -> str:
    """A finished trail of so many records; returns its last anchor."""
    trail = trail_of(directory, upkeep)
    for number in range(start, start + lines):
        trail.append(Kind.ENDED, {"request": f"r{number}", "began": None})
    trail.close()
    return trail.anchor


def checked(directory: Path, *anchors: str, archived: bool = False) -> Report:
    return verify(directory, KEYS.chain, anchors, archived)


def busy(directory: Path, act: Callable[[], object]) -> Path:
    """The directory; once its files were listed, and before they are read, a server acts there."""
    acts = [act]

    class Busy(PosixPath):
        def iterdir(self) -> Iterator[Path]:  # type: ignore[override]
            found = [*super().iterdir()]
            while acts:
                acts.pop()()
            return iter(found)

    return Busy(directory)


def newest(directory: Path) -> Path:
    return file_path(directory, file_numbers(directory)[-1])


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def edit(path: Path, change: Callable[[list[bytes]], object]) -> None:
    found = lines(path)
    change(found)
    path.write_bytes(b"".join(found))


def fields(directory: Path) -> list[dict[str, object]]:
    """All lines of a trail, as anyone reads them."""
    paths = [file_path(directory, number) for number in file_numbers(directory)]
    return [json.loads(line) for path in paths for line in lines(path)]
