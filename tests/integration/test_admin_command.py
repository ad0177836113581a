"""`salience admin` against an admin port, and `salience serve` with one."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from salience_client import InvalidRequest, NotPossible, Unavailable
from salience_client.admin import AdminClient
from salience_client.commands import app
from salience_service.bundle.reader import Bundle
from tests.support.administered import Administered, administered
from tests.support.model_versions import add_version, fake_version


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Administered]:
    for version in ("1", "2"):
        fake_version(tmp_path, "m", version)
    with administered(tmp_path) as made:
        yield made


def told(admin: Administered, *words: str) -> str:
    result = CliRunner().invoke(app, ["admin", "--address", admin.admin_address, *words])
    if result.exception:
        raise result.exception
    return result.stdout


def states(text: str) -> dict[str, str]:
    return {each["version"]: each["state"] for each in json.loads(text)["versions"]}


def test_versions_are_loaded_rolled_back_to_and_retired(admin: Administered) -> None:
    fake_version(admin.models, "m", "3")
    assert states(told(admin, "list", "--json"))["3"] == "available"
    assert states(told(admin, "load", "m", "3", "--json"))["3"] == "serving"
    told(admin, "rollback", "m", "1")
    assert admin.engine.model("m").version == "1"
    told(admin, "rollback", "m", "--newest")
    assert admin.engine.model("m").version == "3"
    assert states(told(admin, "retire", "m", "3", "--json")) == {
        "1": "serving",
        "2": "serving",
        "3": "available",
    }


def test_the_table_tells_states_who_answers_and_why(admin: Administered) -> None:
    fake_version(admin.models, "m", "3")
    why = "it drifts [bold]much[/] from its golden example, by more than a terminal is wide"
    admin.load.refused["m/3"] = why
    with pytest.raises(NotPossible, match="it drifts"):
        told(admin, "load", "m", "3")
    told(admin, "rollback", "m", "1")
    one, two, three = told(admin, "list", "m").splitlines()[1:]
    assert one.split()[:4] == ["m", "1", "serving", "pinned"]
    assert two.split()[:3] == ["m", "2", "serving"]
    assert f"refused: {why}" in three


def test_the_status_is_told_in_words_and_as_json(admin: Administered) -> None:
    assert "0 of 1 busy" in told(admin, "status")
    found = json.loads(told(admin, "status", "--json"))
    assert (found["lanes"], found["limit"]["explanations"]) == (1, 4)
    assert found["resident_bytes"] > 0


def test_a_rollback_to_nowhere_or_to_two_places_is_wrong_usage(admin: Administered) -> None:
    for words in (["m"], ["m", "1", "--newest"]):
        with pytest.raises(SystemExit):
            told(admin, "rollback", *words)
    with pytest.raises(InvalidRequest):
        told(admin, "load", "../m", "1")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_a_served_directory_is_administered_where_the_configuration_says_so(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    models, config, port = tmp_path / "models", tmp_path / "serve.toml", free_port()
    add_version(tiny_bundle, models, "1")
    config.write_text(
        'address = "127.0.0.1:0"\nthreads = 1\nbatch_size = 4\n[bundles]\nunsigned = "allow"\n'
        f'[admin]\naddress = "127.0.0.1:{port}"\n'
    )
    words = [sys.executable, "-m", "salience_client.cli", "serve", str(models)]
    process = subprocess.Popen(
        [*words, "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "softmax 1" in process.stdout.readline()
        add_version(tiny_bundle, models, "2")
        with AdminClient(f"127.0.0.1:{port}", timeout=60) as client:
            client.load("softmax", "2")
            found = {each.version: each for each in client.versions()}
            assert found["2"].is_default
            assert len(found["2"].bundle_digest) == 64
            assert client.status().provider == "CPUExecutionProvider"
            process.terminate()
            process.communicate(timeout=30)
            assert process.returncode == 0
            with pytest.raises(Unavailable):
                client.status()
    finally:
        process.kill()
        process.communicate()
