"""The walk-through of docs/access.md does what it says, in one directory, in its order."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from salience_service.bundle.reader import Bundle
from salience_service.config import read_config
from tests.support.waiting import SOON_SECONDS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "access.md").read_text("utf-8")
WALK = PAGE[PAGE.index("## A walk-through") : PAGE.index("## Renewing")]
TOOLS = Path(sys.executable).parent

_BLOCK = re.compile(r"^```(bash|toml|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Shell:
    """A directory in which commands run with this environment's tools."""

    directory: Path
    environment: dict[str, str]

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SOON_SECONDS,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def serve(self, line: str) -> Iterator[None]:
        with subprocess.Popen(
            ["bash", "-c", "exec " + line.removesuffix("&")],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        ) as process:
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(SOON_SECONDS) == 0


@pytest.fixture
def shell(tmp_path: Path, tiny_bundle: Bundle) -> Shell:
    if shutil.which("openssl") is None:
        pytest.skip("the page makes its certificates with openssl, which is not here")
    shutil.copytree(tiny_bundle.directory, tmp_path / "models" / "softmax" / "1")
    known = {name: text for name, text in os.environ.items() if not name.startswith("SALIENCE_")}
    return Shell(tmp_path, known | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"})


def test_the_walk_through_ends_with_models_for_one_and_none_for_the_other(shell: Shell) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        walk = WALK.replace("50051", str(free.getsockname()[1]))
    running, told = [], {}
    for kind, body in _BLOCK.findall(walk):
        if kind == "toml":
            (shell.directory / "serve.toml").write_text(body, "utf-8")
        elif kind == "python":
            told["python"] = shell.run(sys.executable, "-c", body)
        else:
            for line in body.splitlines():
                if line.endswith("&"):
                    running.append(shell.serve(line))
                    next(running[-1])
                else:
                    told[line] = shell.run("bash", "-c", line)
    for server in running:
        assert list(server) == []
    by_token = {line.split()[-1]: text for line, text in told.items() if "models" in line}
    assert "softmax" in by_token["radiology.token"]
    assert "softmax" not in by_token["research.token"]
    assert "softmax" in told["python"]
    assert any("salience health" in line and "SERVING" in told[line] for line in told)


@pytest.mark.parametrize("heading", ["mutual TLS", "JWT"])
def test_the_other_configurations_of_the_page_are_read(tmp_path: Path, heading: str) -> None:
    section = next(part for part in PAGE.split("\n## ") if heading in part.splitlines()[0])
    bodies = [body for kind, body in _BLOCK.findall(section) if kind == "toml"]
    assert bodies
    (tmp_path / "serve.toml").write_text("\n".join(bodies), "utf-8")
    assert read_config(tmp_path / "serve.toml").access is not None
