"""The audit by command, as an operator has it: serve, explain, verify, find; and a kill between."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from salience_client import Client
from salience_client.commands import app
from salience_service.audit.auditor import Auditor
from salience_service.audit.keys import read_keys
from salience_service.audit.line import Kind
from salience_service.bundle.reader import Bundle
from salience_service.rpc.admin.servicer import SERVICE
from salience_service.telemetry.records import Action, ActionRecord, Refusal
from tests.support.audit import edit, fields, newest, trail_of
from tests.support.commands import said
from tests.support.waiting import SOON_SECONDS

PAGE = Path(__file__).parents[2] / "docs/audit.md"
ADMIN = f"/{SERVICE}"


def found_by(*words: object, exit_code: int = 0, told: str = "whole: ") -> list[str]:
    """What `find` prints, where stderr tells so of the trail."""
    result = CliRunner().invoke(app, ["audit", "find", *map(str, words)])
    assert (result.exit_code, told in result.stderr) == (exit_code, True), result.output
    return result.stdout.splitlines()


@pytest.fixture
def place(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A directory with models, a photograph, a key and a configuration."""
    shutil.copytree(tiny_bundle.directory, tmp_path / "models" / "softmax" / "1")
    Image.effect_noise((60, 40), 90).convert("RGB").save(tmp_path / "cat.png")
    said("audit", "keygen", "--out", tmp_path / "audit.key")
    (tmp_path / "serve.toml").write_text(
        'address = "127.0.0.1:0"\n'
        'bundles.unsigned = "allow"\n'
        f'[audit]\ndirectory = "{tmp_path}/audit"\nkey_file = "{tmp_path}/audit.key"\n'
    )
    return tmp_path


@contextmanager
def server(place: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`salience serve`, told to stop at the end if it still runs."""
    command = [sys.executable, "-m", "salience_client.cli", "serve", str(place / "models")]
    process = subprocess.Popen(
        [*command, "--config", str(place / "serve.toml")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().rpartition(" ")[2], process
    finally:
        process.terminate()
        process.communicate(timeout=SOON_SECONDS)


def test_a_trail_over_a_kill_is_whole_and_finds_who_had_an_image_explained(place: Path) -> None:
    photo = place / "cat.png"
    with server(place) as (address, process), Client(address) as client:
        client.explain(photo, model="softmax", methods=["score-cam"])
        events = client.stream(photo, model="softmax", methods=["opti-cam"])
        next(iter(events))
        process.send_signal(signal.SIGKILL)
        process.wait(SOON_SECONDS)
    trail, key = place / "audit", place / "audit.key"
    assert "note: the last file is not finished" in said("audit", "verify", trail, "--key", key)
    with server(place) as (address, _), Client(address) as client:
        client.explain(photo, model="softmax", methods=["fake-cam"])
    told = said("audit", "verify", trail, "--key", key)
    assert "the server ended without finishing" in told
    assert "whole: 1 files" in told
    found = found_by(trail, "--key", key, "--image", photo)
    lines = [json.loads(line) for line in found]
    assert [line["kind"] for line in lines] == ["ended", "ended", "began"]
    assert [[made["method"] for made in line["maps"]] for line in lines[:2]] == [
        ["score-cam"],
        ["fake-cam"],
    ]
    (place / "dog.png").write_bytes(b"another")
    assert found_by(trail, "--key", key, "--image", place / "dog.png") == []
    assert "softmax" in {line.get("model") for line in fields(trail)}

    edit(newest(trail), lambda lines: lines.pop(2))
    assert "fault: line 3 is missing" in said("audit", "verify", trail, "--key", key, exit_code=1)


def test_an_anchor_shows_what_was_cut(place: Path) -> None:
    with server(place):
        pass
    trail, key = place / "audit", place / "audit.key"
    anchor = said("audit", "verify", trail, "--key", key).strip().rpartition(" ")[2]
    edit(newest(trail), lambda lines: lines.pop())
    said("audit", "verify", trail, "--key", key)
    told = said("audit", "verify", trail, "--key", key, "--anchor", anchor, exit_code=1)
    assert "it was cut" in told


def test_an_archive_is_made_and_verified_as_the_page_says(tmp_path: Path) -> None:
    key, trail, archive = tmp_path / "audit.key", tmp_path / "audit", tmp_path / "archive"
    said("audit", "keygen", "--out", key)
    archive.mkdir()
    commands = PAGE.read_text("utf-8").rpartition("```bash\n")[2].partition("```")[0]
    for place, ours in (
        ("/var/lib/salience/audit", trail),
        ("/archive/audit", archive),
        ("/etc/salience", tmp_path),
    ):
        assert place in commands
        commands = commands.replace(place, str(ours))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for explanations in (60, 120):  # Once, and again later.
        opened = trail_of(trail, key=read_keys(key).chain)
        for number in range(60):
            opened.append(Kind.ENDED, {"request": f"r{number}"})
        opened.close()
        done = subprocess.run(
            ["bash", "-ec", commands],
            capture_output=True,
            text=True,
            timeout=SOON_SECONDS,
            check=True,
            env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path)},
        )
        for told in (done.stdout, done.stderr):  # Of `verify`, and of `find`.
            assert ("fault" in told, f"{explanations} explanations" in told) == (False, True)
        assert len([*trail.glob("audit-*.jsonl")]) == 1
    assert "whole: 1 files" in said("audit", "verify", trail, "--key", key, "--archived")
    told = said("audit", "verify", archive, "--key", key, "--archived", exit_code=1)
    assert "says it follows" in told


def test_find_says_that_files_are_not_here_and_that_no_trail_is(tmp_path: Path) -> None:
    key, trail = tmp_path / "audit.key", tmp_path / "audit"
    said("audit", "keygen", "--out", key)
    keys = read_keys(key)
    auditor = Auditor(trail_of(trail, key=keys.chain), keys)
    for _ in range(40):
        auditor.acting(Action("change-42", "root", "load", "m", "3"))
    auditor.close()
    whole = found_by(trail, "--key", key, "--actions")
    (trail / "audit-00000001.jsonl").rename(tmp_path / "archived")
    absent = "fault: files 1 to 1 are not here"
    left = found_by(trail, "--key", key, "--actions", exit_code=1, told=absent)
    assert 0 < len(left) < len(whole) == 40
    (tmp_path / "none").mkdir()
    nothing = "fault: there is no file of a trail here"
    assert found_by(tmp_path / "none", "--key", key, "--actions", exit_code=1, told=nothing) == []


def test_find_with_another_key_says_that_nothing_is_genuine(tmp_path: Path) -> None:
    trail, key = tmp_path / "audit", tmp_path / "another.key"
    trail_of(trail).close()
    said("audit", "keygen", "--out", key)
    strange = "fault: file 1, line 1: it was changed, or written without the key"
    assert found_by(trail, "--key", key, "--actions", exit_code=1, told=strange) == []


def test_what_administrators_did_is_found(tmp_path: Path) -> None:
    key, trail = tmp_path / "audit.key", tmp_path / "audit"
    said("audit", "keygen", "--out", key)
    keys = read_keys(key)
    auditor = Auditor(trail_of(trail, key=keys.chain), keys)
    action = Action("change-42", "root", "load", "m", "3")
    auditor.acting(action)(ActionRecord(action, "BundleRefused", 9, 1.5))
    auditor.acting(action)
    auditor.refused(Refusal("PermissionDenied", "r", "ward", f"{ADMIN}/LoadVersion"))
    auditor.refused(Refusal("PermissionDenied", "r", "ward", "/salience.v1.ExplanationService/E"))
    auditor.close()
    found = found_by(trail, "--key", key, "--actions")
    lines = [json.loads(line) for line in found]
    assert [line["kind"] for line in lines if line["kind"] != "turned_away"] == [
        "action_began",
        "action_ended",
        "action_began",
    ]
    assert [line["rpc"] for line in lines if line["kind"] == "turned_away"] == [
        f"{ADMIN}/LoadVersion"
    ]
    told = said("audit", "verify", trail, "--key", key)
    assert "0 explanations, 1 actions; anchor" in told
    assert "note: 1 actions began and have not ended" in told
    for words in ((), ("--actions", "--image", key)):
        assert "either" in said("audit", "find", trail, "--key", key, *words, exit_code=2)


def test_a_server_whose_audit_cannot_begin_does_not_open_a_model(place: Path) -> None:
    (place / "audit.key").chmod(0o644)
    command = [sys.executable, "-m", "salience_client.cli", "serve", str(place / "models")]
    done = subprocess.run(
        [*command, "--config", str(place / "serve.toml")],
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "audit key audit.key is open to everyone here" in done.stderr
