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
from salience_service.interpolation import unit_range, upsample
from salience_service.methods import METHODS
from tests.support import networks
from tests.support.contracts import image_contract
from tests.support.engines import client_over
from tests.support.small import small

HARDLY_CHANGED = ("guided-backprop",)
"""Fails sanity checks (Adebayo et al. 2018), and is flagged so: nothing is asked of its maps."""


LOUD = 400
"""Times a head is made larger for extremal perturbation: beside its area's loss of 300, logits of
a third, which the small net has, weigh nothing."""


@pytest.fixture(scope="module")
def client(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The small residual net, and the same with its last layer drawn anew; both loud, too."""
    models = Path(tmp_path_factory.mktemp("heads"))
    loud = networks.residual_net()
    with torch.no_grad():
        loud.head.weight.mul_(LOUD)
    heads = {
        "softmax-loud": loud,
        "random-head": _with_random_head(3),
        "random-head-loud": _with_random_head(LOUD / 4),
    }
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    bundles = [
        open_bundle(export_torch(network, contract, Destination(models, name)).directory)
        for name, network in heads.items()
    ]
    with client_over(tiny_bundle, *bundles) as made:
        yield made


def _with_random_head(deviation: float) -> torch.nn.Module:
    network = networks.residual_net()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(99)
        network.head.weight.normal_(0, deviation)
        network.head.bias.normal_(0, 3)
    return network


def explained(client: Client, model: str, method: str) -> NDArray[np.float32]:
    noise = np.random.default_rng(2).normal(size=(3, 8, 8)).astype(np.float32)
    image = Preprocessed(upsample(noise, 32, 32))
    answer = client.explain(image, model=model, methods=small(method), targets=4, scale="raw")
    return unit_range(answer.maps[0].array)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_changes_when_the_last_layer_is_randomised_unless_it_knows_no_class(
    client: Client, method: str
) -> None:
    loud = "-loud" if method == "extremal-perturbation" else ""
    models = (f"softmax{loud}", f"random-head{loud}")
    learnt, randomised = (explained(client, model, method) for model in models)
    if METHODS[method].class_agnostic:
        np.testing.assert_array_equal(learnt, randomised)
    elif method not in HARDLY_CHANGED:
        assert np.abs(learnt - randomised).mean() > 0.02
