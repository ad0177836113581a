"""Small networks that are held beside packages, and their bundles."""

from pathlib import Path

import torch
from torch import nn

from salience_export import Destination, ModelContract, export_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import Bundle, open_bundle
from tests.support import networks
from tests.support.contracts import image_contract

NETWORKS = {
    "residual": networks.residual_net,
    "vgg": networks.vgg_net,
    "smooth": lambda: networks.smooth_net(10),
}
"""All of 10 classes, for images of 32×32."""


def network_of(kind: str) -> nn.Module:
    """A network of `NETWORKS` whose logits are as large as a trained one's.

    As they are initialised its maps are so small that 1e-7, which pytorch-grad-cam adds to a
    map's maximum before it divides by it, is half a percent of them.
    """
    network = NETWORKS[kind]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(3)
    return network


def exported(kind: str, models: Path) -> Bundle:
    """Its bundle, softmax, below a directory of models."""
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    return open_bundle(
        export_torch(network_of(kind), contract, Destination(models, kind)).directory
    )
