"""The trail: owns the directory, the file that is written now, and the end of the chain."""

import errno
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from salience_service.audit.ending import Ending, ending_of
from salience_service.audit.files import file_numbers, file_path
from salience_service.audit.line import Kind, written
from salience_service.audit.line_file import LineFile, Sync, write_new
from salience_service.audit.lock import Lock
from salience_service.errors import ConfigRefused

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upkeep:
    """How a trail is kept.

    Attributes:
        rotate_bytes: a file that has as many is finished, and the next begun.
        keep_files: so many are kept when one is begun, that one among them, and older ones deleted;
            of those that a stop left short more are kept, as many bytes. 0 = none is ever deleted.
        durable: whether `append` waits until the line is on the disk.
        anchor_lines: lines after which the end of the chain is told to the log.
    """

    rotate_bytes: int = 64 * 2**20
    keep_files: int = 0
    durable: bool = True
    anchor_lines: int = 1000


class NotOnDisk(OSError):
    """A line is in the trail, and perhaps not on the disk. `number`: the line's."""

    def __init__(self, number: int, fault: OSError) -> None:
        super().__init__(fault.errno, fault.strerror)
        self.number = number


def utc_now() -> datetime:
    """The time that lines bear."""
    return datetime.now(UTC)


class Trail:
    """Appends lines. Safe from any thread; one process a directory.

    What is told to the log as `audit anchor NUMBER:SEAL` proves later that the trail had come so
    far, which nothing in the directory itself can prove.

    Args:
        directory: made, with mode 0700, where missing.
        key: of the chain.
        upkeep: how it is kept.
        clock: says the time; nothing rests on it.
        sync: puts a file onto the disk, or raises OSError.

    Raises:
        ConfigRefused: the directory cannot be used, another process writes there, or the end of
            the trail in it is not what this key wrote, or not there.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        upkeep: Upkeep = Upkeep(),
        clock: Callable[[], datetime] = utc_now,
        sync: Sync = os.fsync,
    ) -> None:
        self._directory, self._key, self._upkeep = directory, key, upkeep
        self._clock, self._sync = clock, sync
        self._lock = threading.Lock()
        self._file: LineFile | None = None
        self._closed = False
        self._withdrawn: list[int] = []  # What the next line has to tell.
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            self._held = Lock(directory)
        except OSError as fault:
            raise _unusable(fault) from fault
        try:
            self._end = ending_of(directory, key, self._held.newest)
            self._go_on()
        except OSError as fault:
            self._held.release()
            raise _unusable(fault) from fault
        except ConfigRefused:
            self._held.release()
            raise
        self._tell_anchor()

    @property
    def anchor(self) -> str:
        """Number and seal of the last line: `NUMBER:SEAL`."""
        with self._lock:
            return self._end.anchor

    def append(self, kind: Kind, fields: Mapping[str, object], durable: bool = True) -> int:
        """Writes a line, and returns once it is on the disk.

        Args:
            kind: what it tells.
            fields: the rest of it, as JSON has it.
            durable: False: does not wait for the disk.

        Returns:
            The line's number.

        Raises:
            NotOnDisk: it is written, and the chain goes on from it, but its sync failed.
            OSError: it is not written; what was written of it is taken back.
        """
        with self._lock:
            file = self._open_file()
            size = self._write(file, kind, fields)
            number = self._end.number
        if durable and self._upkeep.durable:
            try:
                file.sync(size)
            except OSError as fault:
                raise NotOnDisk(number, fault) from fault
        if number % self._upkeep.anchor_lines == 0:
            self._tell_anchor()
        return number

    def withdraw(self, number: int) -> None:
        """Has the next line tell that what the line of this number tells did not come about."""
        with self._lock:
            self._withdrawn.append(number)

    def close(self) -> None:
        """Finishes the file, or one begun for what was given up; nothing is appended any more.

        Raises:
            OSError: its end could not be written.
        """
        with self._lock:
            self._closed = True
            try:
                if self._file is not None:
                    self._finish(self._usable_file(), "closed")
            finally:
                self._file = None
                self._held.release()
        self._tell_anchor()

    def _go_on(self) -> None:
        """Goes on where the trail ended: in the same file, where that was not finished."""
        end = self._end
        if not end.finished:
            self._file = LineFile(file_path(self._directory, end.file), self._sync)
            fields = {"torn_bytes": len(end.torn), "torn_sha256": end.torn_digest}
            self._file.sync(self._write(self._file, Kind.RECOVERED, fields, end.lead))
        self._usable_file()

    def _open_file(self) -> LineFile:
        if self._closed:  # Another server may have the directory by now.
            raise OSError(errno.EBADF, "the trail is closed")
        file = self._file
        if file is not None and not file.given_up and file.size >= self._upkeep.rotate_bytes:
            self._finish(file, "rotated")
        return self._usable_file()

    def _usable_file(self) -> LineFile:
        """The file that is written now, which the lock names; where it is given up, the next."""
        if self._file is None or self._file.given_up:
            if self._file is not None:
                self._file.close()
            self._begin_file()
        assert self._file is not None
        self._held.note(self._end.file, self._sync)
        return self._file

    def _finish(self, file: LineFile, reason: str) -> None:
        """Seals a file. Where that fails it stays as it is, to be tried again."""
        file.sync(self._write(file, Kind.TAIL, {"reason": reason}))
        file.close()

    def _begin_file(self) -> None:
        number = self._end.file + 1
        oldest = self._oldest_kept()
        line, seal = self._next_line(Kind.HEAD, {"file": number, "oldest": oldest})
        path = file_path(self._directory, number)
        write_new(path, line, self._sync)
        self._move_on(seal, number, oldest)
        self._file = LineFile(path, self._sync)
        self._drop_before(oldest)

    def _write(
        self, file: LineFile, kind: Kind, fields: Mapping[str, object], lead: bytes = b""
    ) -> int:
        line, seal = self._next_line(kind, fields)
        size = file.append(lead + line)
        self._move_on(seal, self._end.file, self._end.oldest)
        return size

    def _next_line(self, kind: Kind, fields: Mapping[str, object]) -> tuple[bytes, str]:
        """Bytes and seal of the line that follows the last."""
        told = {"time": self._time(), **fields}
        if self._withdrawn:
            told["withdrawn"] = self._withdrawn
        return written(self._key, self._end.number + 1, self._end.seal, kind, told)

    def _move_on(self, seal: str, file: int, oldest: int) -> None:
        """The next line is written, and is the last now."""
        self._end = Ending(self._end.number + 1, seal, file, oldest=oldest)
        self._withdrawn = []

    def _oldest_kept(self) -> int:
        """The number of the oldest file that stays once a new one is begun.

        Never lower than before: a file that someone else took away is not to be forgotten.
        """
        keep = self._upkeep.keep_files
        if not keep:
            return self._end.oldest
        # A start that comes to nothing is to delete nothing, whatever it leaves behind.
        full = keep - 1 if self._file else keep
        held, room = 0, full * self._upkeep.rotate_bytes
        try:
            for number in reversed(file_numbers(self._directory)):
                if held >= room:
                    return max(self._end.oldest, number + 1)
                held += file_path(self._directory, number).stat().st_size
        except OSError:  # Whoever moves files away now lets the others stay a while longer.
            pass
        return self._end.oldest

    def _drop_before(self, oldest: int) -> None:
        """Deletes what is no longer kept; no explanation is refused because that fails."""
        try:
            for number in file_numbers(self._directory):
                if number < oldest:
                    file_path(self._directory, number).unlink()
        except OSError as fault:
            _log.error("audit: an old file cannot be deleted: %s", fault.strerror)

    def _time(self) -> str:
        return self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _tell_anchor(self) -> None:
        _log.info("audit anchor %s", self.anchor)


def _unusable(fault: OSError) -> ConfigRefused:
    return ConfigRefused(f"the audit directory cannot be used: {fault.strerror}")
