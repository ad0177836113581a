"""The `salience` command as people run it, on a real bundle: here, and over a real server."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salience_service.bundle.reader import Bundle
from salience_service.interpolation import upsample
from salience_service.life.exit_codes import REFUSED
from tests.support.processes import COMMAND, run
from tests.support.waiting import SOON_SECONDS


@pytest.fixture(scope="module")
def models(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("command") / "models"
    shutil.copytree(tiny_bundle.directory, directory / "softmax" / "1")
    return directory


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    coarse = np.random.default_rng(4).uniform(0, 255, (3, 6, 8)).astype(np.float32)
    pixels = upsample(coarse, 60, 80).transpose(1, 2, 0).astype(np.uint8)
    path = tmp_path_factory.mktemp("photo") / "cat.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    """Where `salience serve` said that it serves; ended by SIGTERM, which must end it well."""
    process = subprocess.Popen(
        [*COMMAND, "serve", str(models), "--unsigned", "--address", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    banner = process.stdout.readline()
    found = re.fullmatch(r"serving softmax 1 on (127\.0\.0\.1:[1-9]\d*)\n", banner)
    if not found:
        process.kill()
    assert found, (banner, process.communicate()[1])
    try:
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        said, complained = process.communicate(timeout=SOON_SECONDS)
    assert (process.returncode, said) == (0, ""), complained
    assert "Traceback" not in complained


def reported(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON object on stdout, with nothing beside it."""
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


EXPLAIN = ("--model", "softmax", "--method", "score-cam,fake-cam", "--scores", "ad,ai,ag")


def assert_files(entries: Sequence[dict[str, object]], out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "fake-cam.npy", "fake-cam.png", "score-cam.npy", "score-cam.png",
    ]  # fmt: skip
    for entry in entries:
        values = np.load(str(entry["map"]))
        assert (values.dtype, values.shape) == (np.float32, (32, 32))
        assert (values.min(), values.max()) == (0, 1)
        with Image.open(str(entry["overlay"])) as picture:
            assert (picture.mode, picture.size) == ("RGB", (32, 32))


def test_explaining_in_this_process_and_at_an_address_says_and_writes_the_same(
    models: Path, photo: Path, address: str, tmp_path: Path
) -> None:
    here = reported(
        run("explain", photo, *EXPLAIN, "--models", models, "--out", tmp_path / "here", "--json")
    )
    there = reported(
        run("explain", photo, *EXPLAIN, "--address", address, "--out", tmp_path / "there", "--json")
    )
    for report, place in ((here, "here"), (there, "there")):
        assert (report["model"], report["version"]) == ("softmax", "1")
        assert re.fullmatch("[0-9a-f]{64}", str(report["digest"]))
        assert report["provider"] == "CPUExecutionProvider"
        entries = report["methods"]
        assert isinstance(entries, list)
        assert [entry["method"] for entry in entries] == ["score-cam", "fake-cam"]
        for entry in entries:
            assert set(entry["scores"]) == {"ad", "ai", "ag"}
            assert entry["gradient_side"] == "none"
            assert entry["degenerate"] is False
            assert entry["rows"] > 0
            assert entry["seconds"] > 0
        assert_files(entries, tmp_path / place)
    for name in ("score-cam.npy", "fake-cam.npy"):
        first, second = (np.load(tmp_path / place / name) for place in ("here", "there"))
        # The batch is the same; two processes may run on other numbers of threads.
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_explaining_prints_a_table(photo: Path, address: str) -> None:
    done = run("explain", photo, *EXPLAIN, "--address", address, "--target", "class 2")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "cat.png (80×60) · softmax 1 on CPUExecutionProvider" in words
    assert "Method Target AD % AI % AG % Rows Seconds" in words
    assert "score-cam class 2" in words
    assert "class-agnostic" in words


def test_models_are_listed_and_described(address: str) -> None:
    listed = reported(run("models", "--address", address, "--json"))
    assert [(model["name"], model["version"]) for model in listed["models"]] == [("softmax", "1")]  # type: ignore[union-attr, index]
    described = reported(run("models", "softmax", "--address", address, "--json"))
    assert (described["output"], described["classes"]) == ("softmax", 10)


def test_models_of_a_directory_are_listed_without_a_server(models: Path) -> None:
    done = run("models", "--models", models)
    assert done.returncode == 0, done.stderr
    assert re.search(r"softmax +1 +default +CPUExecutionProvider", done.stdout)


def test_health_says_serving_for_the_server_and_for_a_model(address: str) -> None:
    for name in ([], ["softmax"]):
        done = run("health", *name, "--address", address)
        assert (done.returncode, done.stdout) == (0, "SERVING\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("health", "nobody"), "no model 'nobody'"),
        (("models", "nobody"), "no model 'nobody'"),
        (("explain", "PHOTO", "--model", "nobody", "--method", "score-cam"), "no model 'nobody'"),
        (("explain", "PHOTO", "--model", "softmax", "--method", "no-cam"), "no method 'no-cam'"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(
    address: str, photo: Path, words: tuple[str, ...], said: str
) -> None:
    stated = [str(photo) if word == "PHOTO" else word for word in words]
    done = run(*stated, "--address", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("salience: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_directory_without_a_bundle_is_not_served(tmp_path: Path) -> None:
    done = run("serve", tmp_path, "--address", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "salience: the models directory holds no bundle" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "the models directory cannot be read: No such file or directory"),
        (("nowhere", "--check"), "the models directory cannot be read: No such file or directory"),
        ((".", "--config", "nowhere.toml"), "nowhere.toml cannot be read: No such file"),
    ],
)
def test_a_place_that_a_late_volume_leaves_empty_is_refused_and_is_no_wrong_usage(
    words: tuple[str, ...], said: str
) -> None:
    done = run("serve", *words, "--address", "127.0.0.1:0")
    assert done.returncode == REFUSED
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("models", "--models", "nowhere"),
        ("models", "--models", ".", "--address", "127.0.0.1:1"),
        ("explain", "nothing.png", "--model", "softmax", "--method", "score-cam"),
        ("export", "onnx", "nothing.onnx"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
