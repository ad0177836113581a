"""torch may be absent: the server then serves all but torch's side, and else it is loaded late."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from salience_client import Client, Method, NotPossible, Preprocessed
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle
from salience_service.interpolation import upsample
from salience_service.methods import METHODS
from tests.support.bundles import without
from tests.support.engines import client_over
from tests.support.environments import environment_of
from tests.support.small import small
from tests.support.waiting import SOON_SECONDS

IMAGE = Preprocessed(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
GRADIENTS = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)
GRADIENT_METHODS = [name for name, method in METHODS.items() if method.needs_gradient]
GUIDED = [name for name in GRADIENT_METHODS if METHODS[name].guided]


@pytest.fixture(scope="module")
def models(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with gradient graphs and a torch program, and its twin without the graphs."""
    directory = tmp_path_factory.mktemp("served")
    shutil.copytree(tiny_bundle.directory, directory / "softmax" / "1")
    without(tiny_bundle, directory / "plain" / "1", *GRADIENTS, name="plain")
    return directory


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with `salience[service]` and nothing else."""
    own = ("salience", "salience_client", "salience_service")
    return environment_of("salience[service]", own, tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def client(models: Path, python: Path) -> Iterator[Client]:
    """A client of `salience serve` in that environment."""
    process = subprocess.Popen(
        [
            python,
            "-m",
            "salience_client.cli",
            "serve",
            models,
            "--unsigned",
            "--address",
            "127.0.0.1:0",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        banner = re.search(r"on (\S+:\d+)$", process.stdout.readline().strip())
        assert banner, "the server ended before it served"
        with Client(banner[1]) as made:
            yield made
    finally:
        process.terminate()
        process.wait(SOON_SECONDS)
        process.stdout.close()


def test_the_environment_has_what_a_server_needs_and_no_more(python: Path) -> None:
    program = """
from importlib.util import find_spec
import salience_service.rpc.server.process
print(*filter(find_spec, ["torch", "salience_export", "onnxscript", "pytest", "pip", "grpc"]))
"""
    found = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("grpc\n", "")


def test_a_server_without_torch_answers_the_methods_of_rows_with_scores(client: Client) -> None:
    methods = ["fake-cam", "score-cam", "poly-cam"]
    answer = client.explain(IMAGE, model="softmax", methods=methods, scores=["ad", "ai", "ag"])
    assert [found.method for found in answer.maps] == methods
    for found in answer.maps:
        assert np.isfinite(found.array).all()
        assert found.scores is not None
        assert found.provenance.gradient_side == "none"


def test_a_server_has_what_the_methods_of_superpixels_need(client: Client) -> None:
    asked = [Method(name, samples=40, superpixels="slic") for name in ("lime", "kernel-shap")]
    smooth = Preprocessed(upsample(IMAGE.array[:, ::4, ::4], 32, 32))  # Noise has no superpixels.
    for found in client.explain(smooth, model="softmax", methods=asked).maps:
        assert np.isfinite(found.array).all()
        assert not found.is_degenerate


def test_a_server_without_torch_answers_gradient_methods_as_torch_does(
    client: Client, tiny_bundle: Bundle
) -> None:
    methods = [one_step(name) for name in GRADIENT_METHODS if name not in GUIDED]
    answer = client.explain(IMAGE, model="softmax", methods=methods, scores=["ad", "ai", "ag"])
    with client_over(tiny_bundle) as here:
        expected = here.explain(IMAGE, model="softmax", methods=methods, gradient_side="torch")
    for found, by_torch in zip(answer.maps, expected.maps, strict=True):
        assert found.provenance.gradient_side == "onnx"
        assert by_torch.provenance.gradient_side == "torch"
        assert found.scores is not None
        np.testing.assert_allclose(found.array, by_torch.array, rtol=0, atol=1e-4)


def one_step(name: str) -> Method:
    """The method, small; one that climbs takes one step, before last bits grow."""
    climbs = name in ("opti-cam", "extremal-perturbation")
    return small(name, iterations=1) if climbs else small(name)


def test_a_whole_opti_cam_needs_no_torch(client: Client) -> None:
    (found,) = client.explain(IMAGE, model="softmax", methods="opti-cam").maps
    assert found.iterations is not None
    assert found.iterations > 1
    assert not found.is_degenerate


def test_a_server_without_torch_says_what_the_torch_side_needs(client: Client) -> None:
    with pytest.raises(NotPossible, match=r"no torch.*install salience\[torch\]"):
        client.explain(IMAGE, model="softmax", methods="opti-cam", gradient_side="torch")
    with pytest.raises(NotPossible, match=r"no gradient graphs.*or: .*salience\[torch\]"):
        client.explain(IMAGE, model="plain", methods="grad-cam")


def test_a_server_without_torch_lists_what_it_can_answer(client: Client) -> None:
    told = client.describe("softmax")
    assert told.gradient_sides == ("onnx",)
    lost = {m.name: m.unavailable_reason for m in told.methods if not m.available}
    assert sorted(lost) == sorted(GUIDED)
    assert all("salience[torch]" in reason for reason in lost.values())


def test_without_gradient_graphs_gradient_methods_are_listed_with_the_remedy(
    client: Client,
) -> None:
    told = client.describe("plain")
    assert told.gradient_sides == ()
    lost = {m.name: m.unavailable_reason for m in told.methods if not m.available}
    assert sorted(lost) == sorted(GRADIENT_METHODS)
    assert all("salience[torch]" in reason for reason in lost.values())


def modules_after(program: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a fresh process holds at the end of a program."""
    heavy = {
        "torch", "onnx", "onnxruntime", "grpc", "PIL", "skimage", "sklearn", "scipy",
        "salience_service", "salience_export",
    }  # fmt: skip
    code = f"import sys\n{program}\nprint(*({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_an_engine_that_answers_from_graphs_never_loads_torch(models: Path) -> None:
    """With torch installed: it is loaded for its own side, not for being there."""
    program = """
import numpy as np
from salience_client import Client, Preprocessed, open_in_process
with Client(open_in_process(sys.argv[1], threads=1)) as client:
    image = Preprocessed(np.ones((3, 32, 32), np.float32))
    answer = client.explain(image, model="softmax", methods=["score-cam", "grad-cam"])
    assert len(answer.maps) == 2
"""
    loaded = modules_after(program, str(models))
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "salience_export", "skimage", "sklearn", "scipy"}


def test_the_server_module_loads_neither_torch_nor_the_exporter_nor_what_few_methods_need() -> None:
    loaded = modules_after("import salience_service.rpc.server.process")
    assert {"onnxruntime", "grpc"} <= loaded
    assert not loaded & {"torch", "salience_export", "skimage", "sklearn", "scipy"}
