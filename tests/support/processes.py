"""Servers and commands in processes of their own: started, waited for, and killed at the end."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.waiting import SOON_SECONDS

SERVER = (sys.executable, "-m", "tests.support.process_server")
COMMAND = (sys.executable, "-m", "salience_client.cli")


@contextmanager
def running(
    *words: object, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that says where it serves, and the address; killed at the end of the block."""
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])  # noqa: PTH109
    own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **own, **environment},
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if " on " not in said:
            process.kill()
            pytest.fail(f"it does not serve: {said} {process.communicate()[1]}")
        yield process, said.rpartition(" on ")[2].strip()
    finally:
        process.kill()
        process.communicate()


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """The `salience` command with these words, at its end."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )


def config_file(directory: Path, text: str) -> Path:
    """A configuration of these lines."""
    path = directory / "serve.toml"
    path.write_text(text, "utf-8")
    return path


def free_address() -> str:
    """A port that stays the same over restarts; the kernel gives out others first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
