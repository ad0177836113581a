"""`salience export` on the terminal: what it prints, what it writes, how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from salience_export.command import app
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import open_bundle
from tests.support import networks
from tests.support.contracts import image_contract

NETWORKS = networks.__name__
CONTRACT = """
[input]
channels = 3
height = 32
width = 32
colour_order = "RGB"
white = 1
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[input.resize]
rule = "stretch"
interpolation = "bilinear"
[output]
kind = "softmax"
"""


@pytest.fixture
def contract(tmp_path: Path) -> str:
    path = tmp_path / "model.toml"
    path.write_text(CONTRACT)
    return str(path)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "smooth.onnx"
    source = open_torch(networks.smooth_net(), image_contract(), OutputKind.SOFTMAX)
    onnx.save(source.model, path)
    return path


def test_a_torch_export_prints_taps_parity_files_and_seconds(contract: str, tmp_path: Path) -> None:
    out = tmp_path / "models"
    result = CliRunner().invoke(
        app,
        f"torch {NETWORKS}:vgg_net --input {contract} --name vgg --version 2 --out {out} "
        "--tap features.4 --tap features.7",
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "vgg 2: softmax, 10 classes, from torch"
    assert lines[1:4] == ["taps:", "  features.4  12×16×16", "  features.7  16×8×8"]
    assert lines[4].startswith("parity: ")
    assert "of at most 1e-04 (logits " in lines[4]
    assert lines[5].startswith("gradients: ")
    assert lines[5].endswith(" of at most 3e-02, by norms")
    manifest = open_bundle(out / "vgg" / "2").manifest
    weights = next(file for file in manifest.files if file.path == "weights.bin")
    assert f"  weights.bin  {weights.size / 1024:.1f} KiB" in lines
    assert lines[-1].startswith(f"written to {out / 'vgg' / '2'} in ")
    assert [tap.name for tap in manifest.taps] == ["features.4", "features.7"]


def test_an_onnx_export_prints_one_json_object(
    contract: str, onnx_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models"
    result = CliRunner().invoke(
        app,
        f"onnx {onnx_file} --input {contract} --name smooth --out {out} --json",
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    bundle = open_bundle(out / "smooth" / "1")
    assert (said["model"], said["version"], said["source"]) == ("smooth", "1", "onnx")
    assert said["digest"] == bundle.digest
    assert said["classes"] == 5
    assert [tap["name"] for tap in said["taps"]] == [tap.name for tap in bundle.manifest.taps]
    assert said["parity"]["worst"] <= 1e-4
    assert 0 < said["parity"]["gradient"] <= 3e-2
    assert {file["path"]: file["bytes"] for file in said["files"]} == {
        file.path: file.size for file in bundle.manifest.files
    }
    assert bundle.manifest.torch_program == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([NETWORKS], "name the factory as PACKAGE.MODULE:FACTORY"),
        (["tests.nowhere:net"], "'tests.nowhere' cannot be imported: no module 'tests.nowhere'"),
        ([f"{NETWORKS}:nothing"], f"'{NETWORKS}' has no function 'nothing'"),
        ([f"{NETWORKS}:residual_net"], "give one with --input FILE.toml"),
        (["builtins:dict"], "returned a dict; it must return a torch module"),
        (
            [f"{NETWORKS}:residual_net", "--input", "none.toml"],
            "none.toml cannot be read",
        ),
    ],
)
def test_an_export_that_fails_says_why_and_exits_with_one(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        app, ["torch", *arguments, "--name", "net", "--out", str(tmp_path / "models")]
    )
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert not (tmp_path / "models").exists()


def test_an_onnx_export_needs_no_torch(contract: str, onnx_file: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"  # any import of torch now fails
        "from salience_export.command import app; app()"
    )
    arguments = ["onnx", str(onnx_file), "--input", contract, "--name", "smooth"]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments, "--out", str(tmp_path / "m")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    open_bundle(tmp_path / "m" / "smooth" / "1")
