"""Bundles whose taps are tokens, opened from a models directory and explained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from salience_client import Client, Pixels
from salience_client.in_process import InProcess
from salience_export import Destination, ModelContract, export_onnx
from salience_service.bundle.manifest import OutputKind, TokenLayout
from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.engine import Engine
from tests.support.contracts import image_contract
from tests.support.onnx_networks import transformer

LAYOUTS = {TokenLayout.TOKENS: 0, TokenLayout.CLASS_AND_TOKENS: 1}
"""Class tokens of a transformer whose last tap lies so."""


@pytest.fixture(params=LAYOUTS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    onnx.save(transformer(LAYOUTS[request.param]), tmp_path / "model.onnx")
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    models = tmp_path / "models"
    report = export_onnx(tmp_path / "model.onnx", contract, Destination(models, "vit"))
    assert report.manifest.taps[-1].layout is request.param
    engine = Engine.open(models, ServeConfig(threads=1, bundles=UNSIGNED_ALLOWED))
    yield engine
    engine.close()


def test_a_transformer_serves_and_is_explained_at_its_tokens(served: Engine) -> None:
    assert served.model("vit").drift < 1e-5  # float32 on the machine that wrote the example
    image = np.random.default_rng(5).integers(0, 256, (48, 40, 3), np.uint8)
    answer = Client(InProcess(served)).explain(
        Pixels(image), model="vit", methods=["grad-cam", "score-cam"]
    )
    assert [each.method for each in answer.maps] == ["grad-cam", "score-cam"]
    assert all(each.raw_maximum > each.raw_minimum for each in answer.maps)
