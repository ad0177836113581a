"""A file that lines are appended to: each whole or not at all, on the disk when that is asked."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

Sync = Callable[[int], None]


class LineFile:
    """An open file. `append` is for one thread at a time, `sync` for any.

    Args:
        path: a file that exists.
        sync: puts what was written to a descriptor onto the disk, or raises OSError.
    """

    def __init__(self, path: Path, sync: Sync = os.fsync) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags)
        self._sync = sync
        self._syncing = threading.Lock()
        self.size = os.fstat(self._descriptor).st_size
        self._durable = self.size
        self._torn = False
        self.given_up = False

    def append(self, data: bytes) -> int:
        """Writes all of it; what was written of it is taken back where that fails.

        Returns:
            The size that makes it durable, for `sync`.

        Raises:
            OSError: the disk is full, or worse.
        """
        self._take_back()
        rest = memoryview(data)
        try:
            while rest:
                self._torn = True
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._take_back()
            raise
        self._torn = False
        self.size += len(data)
        return self.size

    def sync(self, upto: int) -> None:
        """Returns once the file is on the disk up to this size; threads that wait share a sync.

        Raises:
            OSError: it is not. Nothing more is appended to such a file: the kernel tells of
                a failed sync but once (https://lwn.net/Articles/752063/).
        """
        with self._syncing:
            if self._durable >= upto:
                return
            if self.given_up:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            size = self.size
            try:
                self._sync(self._descriptor)
            except OSError:
                self.given_up = True
                raise
            self._durable = size

    def close(self) -> None:
        """Ends it, once; a `sync` of what is not on the disk by now raises."""
        with self._syncing:
            self.given_up = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _take_back(self) -> None:
        """Cuts what was left of a line that could not be written whole."""
        if self._torn:
            os.ftruncate(self._descriptor, self.size)
            self._torn = False


def write_new(path: Path, data: bytes, sync: Sync = os.fsync) -> None:
    """Makes a file of mode 0600 that holds these bytes, at once or not at all.

    Raises:
        OSError: it exists, or cannot be written.
    """
    unfinished = path.with_name(f".{path.name}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            if stream.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(stream.fileno())
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    try:
        _sync_directory(path.parent)
    except OSError:
        path.unlink()
        raise


def _sync_directory(directory: Path) -> None:
    """Puts a directory's names onto the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
