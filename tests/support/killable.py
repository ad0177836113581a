"""`salience serve` in a process of its own, that can be killed and started again on its port."""

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_BANNER = re.compile(r"serving .* on (127\.0\.0\.1:[1-9]\d*)\n")


class KillableServer:
    """Serves a directory of bundles while the block lasts.

    Args:
        models: the directory.

    Attributes:
        address: HOST:PORT, the same for every process of this.
    """

    def __init__(self, models: Path) -> None:
        self._models = models
        self.address = "127.0.0.1:0"
        self._complaints: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = self._started()

    def kill(self) -> None:
        """SIGKILL: no word to anybody."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Another process in the place of the one that was killed; waits until it serves."""
        self._close_pipe()
        self._process = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.kill()
        self._close_pipe()
        self._complaints.close()

    def _close_pipe(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _started(self) -> "subprocess.Popen[str]":
        command = (sys.executable, "-m", "salience_client.cli", "serve", str(self._models))
        process = subprocess.Popen(
            [*command, "--unsigned", "--address", self.address],
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        assert process.stdout is not None
        banner = process.stdout.readline()
        found = _BANNER.fullmatch(banner)
        if found is None:
            process.kill()
            self._complaints.seek(0)
            raise AssertionError((banner, self._complaints.read()))
        self.address = found[1]
        return process
