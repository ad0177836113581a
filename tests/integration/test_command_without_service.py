"""Commands that need the service, where `salience[cli]` alone is installed, say what to install."""

import subprocess
from pathlib import Path

import pytest

from tests.support.environments import environment_of
from tests.support.waiting import SOON_SECONDS


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with `salience[cli]` and nothing else."""
    own = ("salience", "salience_client", "salience_service")
    return environment_of("salience[cli]", own, tmp_path_factory.mktemp("environment"))


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "keygen", "--out", "new.key"),
        ("audit", "verify", "trail", "--key", "key"),
        ("audit", "find", "trail", "--key", "key", "--actions"),
        ("keygen", "--out", "new.pem"),
        ("token", "new", "ward"),
    ],
    ids=" ".join,
)
def test_a_command_names_what_is_to_be_installed(
    python: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "trail").mkdir()
    (tmp_path / "key").touch()
    done = subprocess.run(
        [python, "-m", "salience_client.cli", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert " needs " in done.stderr
    assert done.stderr.endswith(": pip install 'salience[service]'\n")
    assert len(done.stderr.splitlines()) == 1
