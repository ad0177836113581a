"""The README's commands do what they say: each `bash` block is run, in order, in one directory.

A block is left out where the line before it says `<!-- not run: REASON -->`. `make` targets are
looked up in the Makefile, not run. A line that ends in `&` runs beside the others until the end;
nothing waits for it but what the page itself has. Ports are swapped for free ones.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.waiting import SOON_SECONDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TOOLS = Path(sys.executable).parent
PHOTO = "photo.jpg"

_BLOCK = re.compile(r"^(?P<before>[^\n]*)\n```bash\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")
_PORT = re.compile(r"127\.0\.0\.1:(\d+)")


def commands() -> list[str]:
    """The lines of all blocks that are to be run, those that end in a backslash joined."""
    bodies = [
        found["body"] for found in _BLOCK.finditer(README) if not _NOT_RUN.search(found["before"])
    ]
    lines = "\n".join(bodies).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclass(frozen=True)
class Shell:
    """A directory with a photograph in it, where commands run with this environment's tools."""

    directory: Path
    environment: dict[str, str]

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SOON_SECONDS,
            check=False,
        )

    def beside(self, line: str) -> subprocess.Popen[bytes]:
        """Runs a line that ends in `&`, as a process that can be told to stop."""
        return subprocess.Popen(
            ["bash", "-c", "exec " + line.removesuffix("&")],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    data = pytest.importorskip("skimage.data", reason="a photograph needs scikit-image (demo)")
    pytest.importorskip("efficientnet_lite_pytorch", reason="real weights need the extra `demo`")
    from PIL import Image

    Image.fromarray(data.chelsea()).save(tmp_path / PHOTO)
    path = os.pathsep.join([str(TOOLS), os.environ.get("PATH", "")])
    return Shell(tmp_path, os.environ | {"PATH": path})


@pytest.fixture
def beside() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What runs beside; told to stop at the end, as whoever follows the README would."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.terminate()
    assert [process.wait(SOON_SECONDS) for process in running] == [0] * len(running)


def free_port() -> str:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return str(asked.getsockname()[1])


@pytest.mark.timeout(900)
def test_the_readmes_commands_run(shell: Shell, beside: list[subprocess.Popen[bytes]]) -> None:
    lines = [line for line in commands() if not line.startswith("make ")]
    assert any(line.startswith("salience explain") for line in lines), "no command to run"
    ports = {port: free_port() for line in lines for port in _PORT.findall(line)}
    for stated in lines:
        line = _PORT.sub(lambda found: f"127.0.0.1:{ports[found[1]]}", stated)
        if line.endswith("&"):
            beside.append(shell.beside(line))
            continue
        done = shell.run(line)
        assert done.returncode == 0, f"{stated}\n{done.stdout}\n{done.stderr}"
        assert done.stdout, f"{stated}: says nothing"
    for folder in {found for line in lines for found in re.findall(r"--out (\S+)", line)}:
        assert any((shell.directory / folder).iterdir()), f"{folder} is empty"


@pytest.mark.parametrize(
    "target", [line.split()[1] for line in commands() if line.startswith("make ")] or ["none"]
)
def test_a_make_target_that_the_readme_names_exists(target: str) -> None:
    assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE)


def test_a_block_that_is_not_run_says_why() -> None:
    """Anything like the mark but without a reason would quietly run, or quietly not."""
    marks = re.findall(r"<!--[^>]*not run[^>]*-->", README)
    assert all(_NOT_RUN.fullmatch(mark) for mark in marks)
    skipped = [found for found in _BLOCK.finditer(README) if _NOT_RUN.search(found["before"])]
    assert len(skipped) == len(marks), "a mark stands on the line just before its block"


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_ci_runs_the_readmes_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in script if line in commands()] == ["make test"]
