"""torch may be absent: the server then serves all but gradients, and else it is loaded late."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from salience_client import Client, NotPossible, Preprocessed
from salience_service.bundle.reader import Bundle

NO_TORCH = "import sys; sys.modules['torch'] = None\n"  # any import of torch now fails
SERVE = NO_TORCH + "from salience_client.cli import main; main()"
IMAGE = Preprocessed(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
SOON_SECONDS = 60


@pytest.fixture(scope="module")
def models(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with one bundle, which has a torch program."""
    directory = tmp_path_factory.mktemp("served")
    shutil.copytree(tiny_bundle.directory, directory / "softmax" / "1")
    return directory


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[Client]:
    """A client of `salience serve` in a process in which torch cannot be imported."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", str(models), "--address", "127.0.0.1:0"],
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


def test_a_server_without_torch_answers_the_methods_of_rows_with_scores(client: Client) -> None:
    methods = ["fake-cam", "score-cam", "poly-cam"]
    answer = client.explain(IMAGE, model="softmax", methods=methods, scores=["ad", "ai", "ag"])
    assert [found.method for found in answer.maps] == methods
    for found in answer.maps:
        assert np.isfinite(found.array).all()
        assert found.scores is not None
        assert found.provenance.gradient_side == "none"


def test_a_server_without_torch_says_what_opti_cam_needs(client: Client) -> None:
    with pytest.raises(NotPossible, match=r"no torch.*install salience\[torch\]"):
        client.explain(IMAGE, model="softmax", methods="opti-cam")


def test_a_server_without_torch_lists_opti_cam_as_not_available(client: Client) -> None:
    told = client.describe("softmax")
    (opti,) = (method for method in told.methods if method.name == "opti-cam")
    assert not opti.available
    assert "salience[torch]" in opti.unavailable_reason
    assert told.gradient_sides == ()


def modules_after(program: str, *arguments: str) -> set[str]:
    """Which of the heavy packages a fresh process holds at the end of a program."""
    heavy = "{'torch', 'onnx', 'onnxruntime', 'grpc', 'PIL', 'salience_service', 'salience_export'}"
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


def test_an_engine_that_answers_score_cam_never_loads_torch(models: Path) -> None:
    """With torch installed: it is loaded for gradients, not for being there."""
    program = """
import numpy as np
from salience_client import Client, Preprocessed, open_in_process
with Client(open_in_process(sys.argv[1], threads=1)) as client:
    image = Preprocessed(np.ones((3, 32, 32), np.float32))
    answer = client.explain(image, model="softmax", methods=["score-cam", "poly-cam"])
    assert len(answer.maps) == 2
"""
    loaded = modules_after(program, str(models))
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "salience_export"}


def test_the_server_module_loads_neither_torch_nor_the_exporter() -> None:
    loaded = modules_after("import salience_service.rpc.server")
    assert {"onnxruntime", "grpc"} <= loaded
    assert not loaded & {"torch", "salience_export"}
