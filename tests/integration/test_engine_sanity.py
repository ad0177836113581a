"""Maps depend on what the model has learnt: another last layer gives another map."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salience_client import Client, Preprocessed
from salience_export import Destination, ModelContract, export_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.interpolation import upsample
from tests.support import networks
from tests.support.contracts import image_contract
from tests.support.engines import client_over

METHODS = ("fake-cam", "score-cam", "poly-cam", "opti-cam")


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The small residual net, and the same with its last layer drawn anew."""
    network = networks.residual_net()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(99)
        network.head.weight.normal_(0, 3)
        network.head.bias.normal_(0, 3)
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    place = Destination(Path(tmp_path_factory.mktemp("random")), "random-head")
    randomised = open_bundle(export_torch(network, contract, place).directory)
    with client_over(tiny_bundle, randomised) as made:
        yield made


def maps(client: Client, model: str) -> dict[str, NDArray[np.float32]]:
    noise = np.random.default_rng(2).normal(size=(3, 8, 8)).astype(np.float32)
    image = Preprocessed(upsample(noise, 32, 32))
    answer = client.explain(image, model=model, methods=METHODS, targets=4)
    return {found.method: found.array for found in answer.maps}


def test_every_map_but_fake_cams_changes_when_the_last_layer_is_randomised(
    client: Client,
) -> None:
    learnt, randomised = maps(client, "softmax"), maps(client, "random-head")
    for method in METHODS[1:]:
        assert np.abs(learnt[method] - randomised[method]).mean() > 0.02, method
    np.testing.assert_array_equal(learnt["fake-cam"], randomised["fake-cam"])
