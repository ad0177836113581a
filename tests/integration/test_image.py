"""The `cpu` image as it is built: read-only, without rights, it serves and answers `explain`.

It needs root, buildah, bubblewrap and the image: `deploy/build_without_docker.sh cpu`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salience_service.bundle.reader import Bundle

ROOT = Path(__file__).parents[2]
RUN = ROOT / "deploy" / "run_without_docker.sh"
IMAGE = "localhost/salience:cpu"
COMMAND = (sys.executable, "-m", "salience_client.cli")
START_SECONDS, SOON_SECONDS = 180, 60
USER = "10001"


def _missing() -> str:
    """What hinders the test; empty where nothing does."""
    lacking = [tool for tool in ("buildah", "bwrap") if shutil.which(tool) is None]
    if lacking or os.geteuid() != 0:
        return f"needs root, buildah and bubblewrap; missing: {', '.join(lacking) or 'root'}"
    found = subprocess.run(
        ["buildah", "inspect", "--type", "image", IMAGE],
        capture_output=True,
        env=os.environ | {"STORAGE_DRIVER": "vfs"},
        check=False,
    )
    return "" if found.returncode == 0 else f"no image {IMAGE}: deploy/build_without_docker.sh cpu"


@dataclass(frozen=True)
class Served:
    """A container that serves.

    Attributes:
        address: where. script: the process that runs it.
    """

    address: str
    script: subprocess.Popen[str]

    @property
    def server(self) -> Path:
        """What the kernel says of the server's process: the script's bwrap has but that child."""
        (bwrap,) = _children(self.script.pid)
        (server,) = _children(bwrap)
        return Path(f"/proc/{server}")


def _children(process: int) -> list[int]:
    return [*map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if missing := _missing():
        pytest.skip(missing)
    models = tmp_path_factory.mktemp("image") / "models"
    shutil.copytree(tiny_bundle.directory, models / "softmax" / "1")
    for path in (models.parent, *models.rglob("*"), models):
        path.chmod(0o755 if path.is_dir() else 0o644)
    words = ["serve", "/models", "--config", "/etc/salience.toml", "--unsigned"]
    script = subprocess.Popen(
        [RUN, "cpu", models, *words, "--address", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    assert script.stdout is not None
    try:
        banner = re.fullmatch(r"serving softmax 1 on (\S+:\d+)\n", script.stdout.readline())
        assert banner, "the server ended before it served"
        yield Served(banner[1], script)
    finally:
        script.send_signal(signal.SIGTERM)
        code = script.wait(SOON_SECONDS)
        script.stdout.close()
    assert code == 0, "told to stop, it did not end well"


@pytest.mark.timeout(START_SECONDS + SOON_SECONDS)
def test_the_image_answers_explain_from_outside(served: Served, tmp_path: Path) -> None:
    photo = tmp_path / "cat.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    words = ["explain", photo, "--address", served.address, "--model", "softmax", "--json"]
    done = subprocess.run(
        [*COMMAND, *map(str, words), "--method", "score-cam", "--out", tmp_path],
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["methods"]
    assert (entry["method"], entry["degenerate"]) == ("score-cam", False)


def test_the_server_of_the_image_has_no_rights(served: Served) -> None:
    status = dict(
        line.split(":\t", 1) for line in (served.server / "status").read_text().splitlines()
    )
    assert status["Uid"].split() == [USER] * 4
    assert status["Gid"].split() == [USER] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_the_root_of_the_image_cannot_be_written(served: Served) -> None:
    mounts = [line.split() for line in (served.server / "mounts").read_text().splitlines()]
    options = {where: set(how.split(",")) for _, where, _, how, *_ in mounts}
    assert "ro" in options["/"]
    assert "ro" in options["/models"]
    written = {where for where, how in options.items() if "rw" in how}
    assert all(where == "/dev" or where.startswith(("/dev/", "/proc")) for where in written)
