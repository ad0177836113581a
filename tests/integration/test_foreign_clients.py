"""Triton's own client, in an environment of its own, predicts with this server unchanged."""

import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salience.inference import grpc_service_pb2 as pb
from salience_service.bundle.reader import Bundle
from salience_service.engine import Engine
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import PixelImage
from salience_service.runtime.session import Execution
from tests.support.engines import engine_over
from tests.support.foreign_client import told_by, with_tensors
from tests.support.serving import serving

pytestmark = pytest.mark.packages

CLIENT = "tritonclient[grpc]"
CALLS = Path(__file__).parents[1] / "support" / "triton_calls.py"
PAGE = Path(__file__).parents[2] / "docs" / "inference.md"
SECONDS = 240


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the client and what it asks for.

    Not ours: it asks for protobuf below 7.
    """
    directory = tmp_path_factory.mktemp("foreign")
    venv.create(directory, with_pip=False, symlinks=True)
    found = directory / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet", CLIENT]
    done = subprocess.run(install, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"{CLIENT} cannot be had here: {done.stderr.strip().splitlines()[-1:]}")
    return found


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle) -> Iterator[Engine]:
    with engine_over(tiny_bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is sent lies, and what is answered."""
    return with_tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture(scope="module")
def told(python: Path, engine: Engine, folder: Path) -> dict[str, Any]:
    """What the client was told."""
    return told_by(python, CALLS, engine, folder)


def test_the_client_finds_server_and_model_ready(told: dict[str, Any]) -> None:
    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, True)
    assert told["other_ready"] is False
    assert told["server"]["name"] == "salience"


def test_the_client_reads_what_the_model_takes_and_puts_out(told: dict[str, Any]) -> None:
    tensors = {each["name"]: each for each in told["model"]["inputs"] + told["model"]["outputs"]}
    assert tensors["images"]["datatype"] == "FP32"
    assert tensors["images"]["shape"] == ["-1", "3", "32", "32"]
    assert tensors["logits"]["shape"] == ["-1", "10"]


def test_the_client_gets_the_engines_own_logits_bit_for_bit(
    told: dict[str, Any], engine: Engine, folder: Path
) -> None:
    model = engine.model("softmax")
    pixels = [PixelImage(each, 255.0) for each in np.load(folder / "pixels.npy")]
    batches = {
        "images": np.load(folder / "images.npy"),
        "pixels": [prepare(each, model.manifest.input, ImageLimits()).tensor for each in pixels],
    }
    for name, batch in batches.items():
        expected = np.stack([model.forward(each, (), Execution()).logits for each in batch])
        found = np.load(folder / f"{name}-logits.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        shares = np.load(folder / f"{name}-probabilities.npy")
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert [each["id"] for each in told["answers"]] == ["images", "pixels"]
    assert [each["version"] for each in told["answers"]] == ["1", "1"]


def test_the_client_knows_a_refusal_for_what_it_is(told: dict[str, Any]) -> None:
    assert told["refusal"] == "StatusCode.INVALID_ARGUMENT"


def test_the_program_on_the_protocols_page_runs(python: Path, engine: Engine) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (program,) = [each for each in programs if "import tritonclient" in each]
    with serving(engine) as server:
        here = program.replace("127.0.0.1:50051", server.address)
        code = here.replace("efficientnet-lite0", "softmax")
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in range(10)


def test_every_field_and_call_of_our_contract_is_the_clients(told: dict[str, Any]) -> None:
    """Names, numbers and types; what of theirs we leave out is unknown fields to us."""
    theirs = told["contract"]
    waiting = list(pb.DESCRIPTOR.message_types_by_name.values())
    assert len(waiting) == 14
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        ours = {each.name: [each.number, each.type, each.is_repeated] for each in message.fields}
        assert theirs["messages"][message.full_name] == ours, message.full_name
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == theirs["service"]
    for call in service.methods:
        ours = [call.input_type.full_name, call.output_type.full_name, call.server_streaming]
        assert theirs["calls"][call.name] == ours
