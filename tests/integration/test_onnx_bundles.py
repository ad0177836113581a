"""The real ONNX files by the real command: exported, served, and right about photographs."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from salience_client import Client, Method, NotPossible
from salience_service.bundle.reader import open_bundle
from salience_service.methods import METHODS, TapRule
from tests.support.engines import client_over
from tests.support.small import small

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
CONTRACTS = ROOT / "examples" / "contracts"
PHOTOGRAPHS = 8

# Files with a tap of few channels that poly-cam can go through quickly, and how many of the
# first eight quick photographs each must name: about as many as its accuracy on record says.
FILES = {
    "efficientnet_lite0": ("/_blocks.0/_project_conv/Conv_output_0", 6),
    "mobilenet_v2": ("conv2", 6),
    "squeezenet1.1": ("conv1_2", 4),
}

Served = tuple[str, Client]


@pytest.fixture(scope="module", params=sorted(FILES))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Name and client of one real file, exported by `salience export onnx` into a bundle."""
    name = request.param
    file = SHARED / "models" / f"{name}.onnx"
    if not file.exists():
        pytest.skip(f"shared data is absent: no {file.name} in ../shared/data/models")
    out = tmp_path_factory.mktemp("imported")
    command = [sys.executable, "-m", "salience_client.cli", "export", "onnx", str(file)]
    contract = CONTRACTS / f"{name}.toml"
    done = subprocess.run(
        [*command, "--input", str(contract), "--name", name, "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["parity"]["worst"] <= 1e-4
    bundle = open_bundle(out / name / "1")
    assert said["digest"] == bundle.digest
    with client_over(bundle) as client:
        yield name, client


def photographs() -> list[tuple[bytes, int]]:
    """The first quick photographs with their true class."""
    with (SHARED / "imagenet" / "labels.csv").open() as file:
        quick = [row for row in csv.DictReader(file) if row["quick"] == "1"][:PHOTOGRAPHS]
    folder = SHARED / "imagenet"
    return [((folder / row["file"]).read_bytes(), int(row["class_index"])) for row in quick]


def test_an_imported_file_names_photographs_as_well_as_it_should(served: Served) -> None:
    name, client = served
    right = 0
    for data, true_class in photographs():
        answer = client.explain(data, model=name, methods="fake-cam")
        right += answer.prediction.top[0].index == true_class
    assert right >= FILES[name][1], f"{right} of {PHOTOGRAPHS}"


def test_an_imported_file_answers_every_method_that_needs_no_gradient(served: Served) -> None:
    name, client = served
    data, true_class = photographs()[0]
    shallow = FILES[name][0]
    methods = ["fake-cam", Method("score-cam", [shallow]), Method("poly-cam", [shallow])]
    answer = client.explain(
        data, model=name, methods=methods, targets=true_class, scores=["ad", "ai", "ag"]
    )
    assert [found.method for found in answer.maps] == ["fake-cam", "score-cam", "poly-cam"]
    for found in answer.maps:
        assert found.array.shape == (224, 224)
        assert np.isfinite(found.array).all()
        assert (found.array.min(), found.array.max()) == (0, 1)
        assert found.scores is not None
        assert all(np.isfinite(found.scores[score]) for score in ("ad", "ai", "ag"))


def test_an_imported_file_lacks_only_what_needs_torch_or_another_head(served: Served) -> None:
    name, client = served
    lost = {method.name for method in client.describe(name).methods if not method.available}
    guided = {method for method in METHODS if METHODS[method].guided}
    assert lost == guided | ({"cam"} if name == "squeezenet1.1" else set())


def test_every_other_method_answers_an_imported_file(served: Served) -> None:
    name, client = served
    told = client.describe(name)
    data, true_class = photographs()[0]
    for method in (each.name for each in told.methods if each.available):
        reads = METHODS[method].taps is not TapRule.NONE and method != "cam"
        asked = small(method, FILES[name][0]) if reads else small(method)
        (found,) = client.explain(data, model=name, methods=asked, targets=true_class).maps
        assert np.isfinite(found.array).all(), method
        assert not found.is_degenerate, method


def test_an_imported_file_answers_gradient_methods_with_no_torch_module(served: Served) -> None:
    name, client = served
    told = client.describe(name)
    assert told.gradient_sides == ("onnx",)
    assert (told.output, told.classes) == ("softmax", 1000)
    assert told.input.colour_order == ("bgr" if name == "squeezenet1.1" else "rgb")
    data, true_class = photographs()[0]
    methods = [
        Method("opti-cam", iterations=3),
        "grad-cam",
        "hires-cam",
        Method("integrated-gradients", steps=3),
    ]
    answer = client.explain(data, model=name, methods=methods, targets=true_class, scores=["ad"])
    for found in answer.maps:
        assert found.provenance.gradient_side == "onnx"
        assert found.array.shape == (224, 224)
        assert np.isfinite(found.array).all()
        assert not found.is_degenerate
        assert found.scores is not None
    with pytest.raises(NotPossible, match="export it from a torch module"):
        client.explain(data, model=name, methods="grad-cam", gradient_side="torch")
