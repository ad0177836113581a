"""`salience serve` in a process of its own, as an operator runs it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

_ANNOUNCED = re.compile(r"serving .* on (\S+:\d+)$")
_STOP_SECONDS = 40.0


@dataclass(frozen=True)
class Served:
    """A running server: where it listens, and its process."""

    address: str
    pid: int

    def memory(self, key: str) -> float:
        """A line of /proc/PID/status, such as VmHWM, in megabytes of 10⁶ bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise KeyError(key)

    def has_loaded(self, library: str) -> bool:
        """Whether a shared library of that name is mapped."""
        return library in Path(f"/proc/{self.pid}/maps").read_text()


@contextmanager
def serving(models: Path, log: IO[bytes] | None = None, **settings: object) -> Iterator[Served]:
    """A server over a models directory.

    Args:
        models: the directory.
        log: takes what it logs; None = stderr.
        **settings: keys of its configuration that differ from their defaults.
    """
    command = [sys.executable, "-m", "salience_client.cli", "serve", str(models), "--unsigned"]
    with TemporaryDirectory(prefix="salience-bench-") as scratch:
        config = Path(scratch) / "serve.toml"
        config.write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        )
        process = subprocess.Popen(
            [*command, "--address", "127.0.0.1:0", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield Served(_announced(process), process.pid)
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def _announced(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := _ANNOUNCED.search(line.strip()):
            return found[1]
    raise RuntimeError(f"the server ended before it served, exit code {process.wait()}")
