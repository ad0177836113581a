"""Every method on every kind of network: it answers, or says what the model lacks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from salience_client import Client, Explanation, NotPossible, Preprocessed, TopK
from salience_export import Destination, ModelContract, export_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.interpolation import upsample
from salience_service.methods import METHODS
from tests.support.contracts import image_contract
from tests.support.engines import client_over
from tests.support.families import FAMILIES
from tests.support.small import small

FAMILY_TAPS = {
    "ResNet-50": ("stages.1", "stages"),
    "VGG-16": ("stages.1", "stages"),
    "DenseNet-121": ("blocks.0", "norm"),
    "ViT-B/16": ("layers.0", "layers.1.norm1"),
}
"""Thin networks with random weights, and their taps; the transformer's are tokens."""
WITHOUT = {
    ("VGG-16", "cam"): "linear layer",
    ("DenseNet-121", "cam"): "linear layer",
    ("ViT-B/16", "cam"): "linear layer",
    ("ViT-B/16", "guided-backprop"): "ReLU",
    ("ViT-B/16", "guided-grad-cam"): "ReLU",
}
"""What is refused, with a word of the reason; every other method answers."""
SIDE = 64


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    models = tmp_path_factory.mktemp("families")
    with client_over(*(_exported(name, models) for name in FAMILY_TAPS)) as made:
        yield made


def _exported(family: str, models: Path) -> Bundle:
    network: nn.Module = FAMILIES[family].thin.network()
    contract = ModelContract(image_contract(side=SIDE), OutputKind.SOFTMAX)
    place = Destination(models, _model(family))
    return open_bundle(export_torch(network, contract, place, taps=FAMILY_TAPS[family]).directory)


def _model(family: str) -> str:
    return family.lower().replace("/", "-")


def _picture() -> Preprocessed:
    noise = np.random.default_rng(4).normal(size=(3, SIDE // 4, SIDE // 4)).astype(np.float32)
    return Preprocessed(upsample(noise, SIDE, SIDE))


def _explained(client: Client, family: str, method: str) -> Explanation:
    return client.explain(
        _picture(), model=_model(family), methods=small(method), targets=TopK(2), scale="raw"
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILY_TAPS)
def test_every_method_answers_every_family(client: Client, family: str, method: str) -> None:
    if reason := WITHOUT.get((family, method)):
        with pytest.raises(NotPossible, match=reason):
            _explained(client, family, method)
        return
    answer = _explained(client, family, method)
    first, second = (found.array for found in answer.maps)
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
    if METHODS[method].class_agnostic:
        np.testing.assert_array_equal(first, second)
        assert all("class-agnostic" in found.flags for found in answer.maps)
    else:
        assert np.abs(first - second).max() > 1e-3 * np.abs(first).max(), "one map for two classes"


@pytest.mark.parametrize("family", FAMILY_TAPS)
def test_what_describe_model_calls_available_is_what_answers(client: Client, family: str) -> None:
    listed = client.describe(_model(family)).methods
    unavailable = {method.name for method in listed if not method.available}
    assert unavailable == {method for name, method in WITHOUT if name == family}
