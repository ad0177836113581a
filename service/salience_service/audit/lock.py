"""The lock of a trail's directory: one process holds it, and it names the newest file begun there.

The files may be moved away, the lock stays: without it a directory that was emptied would be a new
one, and the next server would begin a second trail in it, from file 1.
"""

import errno
import os
import re
from pathlib import Path

from salience_service.audit.line_file import Sync
from salience_service.errors import ConfigRefused

_NAME = "lock"
_FORM = re.compile(rb"([0-9]{8,})\n")
_MOST_BYTES = 64


class Lock:
    """Holds a directory for this process until `release`.

    Attributes:
        newest: as of `newest_begun`.

    Raises:
        ConfigRefused: another process holds it, or it holds no number.
        OSError: it cannot be made or read.
    """

    def __init__(self, directory: Path) -> None:
        self._held = _hold(directory / _NAME)
        try:
            self.newest = newest_begun(directory)
        except BaseException:
            self.release()
            raise

    def note(self, number: int, sync: Sync) -> None:
        """Names a file that was begun; on the disk once it returns.

        Raises:
            OSError: it is not.
        """
        if number <= self.newest:
            return
        text = b"%08d\n" % number
        if os.pwrite(self._held, text, 0) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(self._held)
        self.newest = number

    def release(self) -> None:
        """Lets another process hold the directory."""
        os.close(self._held)


def newest_begun(directory: Path) -> int:
    """The number of the newest file that was begun in a directory, at least.

    0 = none is known of: nothing was begun there, or it is a copy without its lock.

    Raises:
        ConfigRefused: the lock holds no number.
        OSError: it cannot be read.
    """
    try:
        with (directory / _NAME).open("rb") as stream:
            content = stream.read(_MOST_BYTES)
    except FileNotFoundError:
        return 0
    form = _FORM.fullmatch(content)
    if content and not form:
        raise ConfigRefused(
            "the audit directory's `lock` does not hold the number of its newest file: see that "
            "the file is there, and write its number into `lock`: eight digits and an end of line"
        )
    return int(form[1]) if form else 0


def _hold(path: Path) -> int:
    import fcntl  # POSIX alone has it; a server that records nothing needs it not.

    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        os.close(held)
        raise ConfigRefused(
            "another server writes to this audit directory: give each its own"
        ) from fault
    return held
