"""The `cpu` image as it is built: read-only, without rights, it serves, answers and records.

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

from salience_service.audit.keys import write_new_key
from salience_service.bundle.reader import Bundle
from tests.support.waiting import SOON_SECONDS

ROOT = Path(__file__).parents[2]
BUILD, RUN = "deploy/build_without_docker.sh", ROOT / "deploy" / "run_without_docker.sh"
IMAGE = "localhost/salience:cpu"
COMMAND = (sys.executable, "-m", "salience_client.cli")
START_SECONDS = 180
USER = "10001"
STATE, SETTINGS = "/var/lib/salience", "/etc/salience"
CONFIG = f"""
[bundles]
unsigned = "allow"
[audit]
directory = "{STATE}/audit"
key_file = "{SETTINGS}/audit.key"
"""


def _missing() -> str:
    """What hinders the test; empty where nothing does."""
    lacking = [tool for tool in ("buildah", "bwrap") if shutil.which(tool) is None]
    if lacking or os.geteuid() != 0:
        return f"needs root, buildah and bubblewrap; missing: {', '.join(lacking) or 'root'}"
    return "" if _inspected().returncode == 0 else f"no image {IMAGE}: {BUILD} cpu"


def _inspected() -> subprocess.CompletedProcess[str]:
    command = ["buildah", "--storage-driver", "vfs", "inspect", "--type", "image", IMAGE]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Served:
    """A container that serves.

    Attributes:
        address: where. script: the process that runs it. directory: of `models`, `etc`, `state`.
    """

    address: str
    script: subprocess.Popen[str]
    directory: Path

    @property
    def server(self) -> Path:
        """What the kernel says of the server's process: the script's bwrap has but that child."""
        (bwrap,) = _children(self.script.pid)
        (server,) = _children(bwrap)
        return Path(f"/proc/{server}")


def _children(process: int) -> list[int]:
    return [*map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]


def _laid_out(bundle: Bundle, directory: Path) -> Path:
    """A directory with the models, the settings and the state of a server of the image's user."""
    shutil.copytree(bundle.directory, directory / "models" / "softmax" / "1")
    (directory / "etc").mkdir()
    (directory / "etc" / "serve.toml").write_text(CONFIG, "utf-8")
    write_new_key(directory / "etc" / "audit.key")
    (directory / "state").mkdir()
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in (directory / "state", directory / "etc" / "audit.key"):
        os.chown(path, int(USER), int(USER))
        path.chmod(0o700 if path.is_dir() else 0o400)
    return directory


@pytest.fixture(scope="module")
def served(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if missing := _missing():
        pytest.skip(missing)
    directory = _laid_out(tiny_bundle, tmp_path_factory.mktemp("image") / "host")
    volumes = [f"{directory}/state:{STATE}", f"{directory}/etc:{SETTINGS}:ro"]
    mounted = [word for volume in volumes for word in ("--volume", volume)]
    words = ["serve", "/models", "--config", f"{SETTINGS}/serve.toml", "--address", "127.0.0.1:0"]
    script = subprocess.Popen(
        [RUN, *mounted, "cpu", directory / "models", *words], stdout=subprocess.PIPE, text=True
    )
    assert script.stdout is not None
    try:
        banner = re.fullmatch(r"serving softmax 1 on (\S+:\d+)\n", script.stdout.readline())
        assert banner, "the server ended before it served"
        yield Served(banner[1], script, directory)
    finally:
        script.send_signal(signal.SIGTERM)
        code = script.wait(SOON_SECONDS)
        script.stdout.close()
    assert code == 0, "told to stop, it did not end well"


def asked(*words: object) -> str:
    """What our command says, run outside the container."""
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(START_SECONDS + SOON_SECONDS)
def test_the_image_answers_explain_from_outside_and_records_it(
    served: Served, tmp_path: Path
) -> None:
    photo = tmp_path / "cat.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    words = ["--address", served.address, "--model", "softmax", "--json", "--out", tmp_path]
    (entry,) = json.loads(asked("explain", photo, *words, "--method", "score-cam"))["methods"]
    assert (entry["method"], entry["degenerate"]) == ("score-cam", False)

    trail, key = served.directory / "state" / "audit", served.directory / "etc" / "audit.key"
    assert "1 explanations" in asked("audit", "verify", trail, "--key", key)
    assert all(path.stat().st_uid == int(USER) for path in trail.iterdir())


def test_the_images_own_check_finds_the_server_serving(served: Served) -> None:
    check = json.loads(_inspected().stdout)["Docker"]["config"]["Healthcheck"]["Test"]
    assert check == ["CMD", "salience", "health"]
    done = subprocess.run(
        [RUN, "cpu", served.directory / "models", *check[2:], "--address", served.address],
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


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
    assert "ro" in options[SETTINGS]
    written = {where for where, how in options.items() if "rw" in how}
    kernels = {where for where in written if where.startswith(("/dev", "/proc"))}
    assert written - kernels == {STATE, "/tmp"}
