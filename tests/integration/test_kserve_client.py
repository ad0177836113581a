"""KServe's own client predicts with this server unchanged.

It needs an environment that somebody made: with all that it asks for, kserve takes 450 MB and a
minute to install, so no test does.

    python3 -m venv .venv-kserve && .venv-kserve/bin/pip install kserve
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle
from salience_service.engine import Engine
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.request import PixelImage
from salience_service.runtime.session import Execution
from tests.support.engines import engine_over
from tests.support.foreign_client import told_by, with_tensors
from tests.support.serving import serving

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"
PAGE = ROOT / "docs" / "inference.md"
CALLS = ROOT / "tests" / "support" / "kserve_calls.py"
pytestmark = [
    pytest.mark.packages,
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"kserve would be in {PYTHON.relative_to(ROOT)}: see above"
    ),
]
NAMES = ["images-raw", "images-typed", "pixels-raw", "pixels-typed"]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle) -> Iterator[Engine]:
    with engine_over(tiny_bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is sent lies, and what is answered."""
    return with_tensors(tmp_path_factory.mktemp("tensors"))


@pytest.fixture(scope="module")
def told(engine: Engine, folder: Path) -> dict[str, Any]:
    """What the client was told."""
    return told_by(PYTHON, CALLS, engine, folder)


def test_kserves_client_finds_server_and_model_ready(told: dict[str, Any]) -> None:
    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, True)
    assert told["other_ready"] is False


def test_kserves_client_gets_the_engines_own_logits_bit_for_bit(
    told: dict[str, Any], engine: Engine, folder: Path
) -> None:
    model = engine.model("softmax")
    pixels = [PixelImage(each, 255.0) for each in np.load(folder / "pixels.npy")]
    batches = {
        "images": np.load(folder / "images.npy"),
        "pixels": [prepare(each, model.manifest.input, ImageLimits()).tensor for each in pixels],
    }
    for name in NAMES:
        batch = batches[name.partition("-")[0]]
        expected = np.stack([model.forward(each, (), Execution()).logits for each in batch])
        found = np.load(folder / f"{name}-logits.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
    assert told["answers"] == [[name, "softmax", "1"] for name in NAMES]


def test_kserves_client_knows_a_refusal_for_what_it_is(told: dict[str, Any]) -> None:
    assert told["refusal"] == "StatusCode.INVALID_ARGUMENT"


def test_the_program_on_the_protocols_page_runs(engine: Engine) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (program,) = [each for each in programs if "from kserve import" in each]
    with serving(engine) as server:
        here = program.replace("127.0.0.1:50051", server.address)
        code = here.replace("efficientnet-lite0", "softmax")
        done = subprocess.run(
            [PYTHON, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "logits" in done.stdout
