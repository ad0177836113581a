"""The taps that are chosen of every family of networks, and those that are refused."""

import pytest
import torch
from torch import nn

from salience_export.errors import ExportError
from salience_export.graphs.taps import choose_taps
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import OutputKind, TokenLayout
from tests.support.contracts import image_contract
from tests.support.families import FAMILIES
from tests.support.families.gradients import traced
from tests.support.families.table import FEW

CHOSEN = {
    "ResNet-50": "4×32 16×16 32×8 64×4",
    "VGG-16": "8×64 12×32 16×16 16×8 16×4",
    "VGG-16-BN": "8×64 12×32 16×16 16×8 16×4",
    "DenseNet-121": "12×32 24×16 24×8 24×8",
    "MobileNetV2": "8×32 8×16 32×16",
    "MobileNetV3-Large": "8×32 12×16 72×16",
    "EfficientNet-B0": "8×32 16×16 32×16",
    "EfficientNet-Lite0": "8×32 16×16 32×16",
    "SqueezeNet 1.1": "8×31 16×15 32×7 48×3",
    "Inception v3": "2×53 3×51 3×25 8×23 12×11 32×5 85×2",
    "ConvNeXt-T": "8×16 16×8 32×4",
    "ViT-B/16": "32×4 32×4",
    "Swin-T": "8×16 16×8",
}
"""Channels and side of each tap of the thin networks."""


@pytest.mark.parametrize("name", FAMILIES)
def test_the_taps_of_every_family_are_square_as_its_images_are(name: str) -> None:
    specimen = FAMILIES[name].thin
    taps = choose_taps(traced(specimen.network(), (), specimen.size), FEW)
    assert all(tap.height == tap.width for tap in taps)
    assert " ".join(f"{tap.channels}×{tap.height}" for tap in taps) == CHOSEN[name]


def test_a_transformer_is_explained_at_the_first_norm_of_its_last_block() -> None:
    network = FAMILIES["ViT-B/16"].thin.network()
    source = open_torch(network, image_contract(side=64), OutputKind.SOFTMAX)
    assert [(tap.name, tap.layout) for tap in source.taps] == [
        ("patches", TokenLayout.SPATIAL),
        ("layers.1.norm1", TokenLayout.CLASS_AND_TOKENS),
    ]


def test_a_module_that_puts_its_channels_last_is_refused_as_tap() -> None:
    network = FAMILIES["Swin-T"].thin.network()
    with pytest.raises(ExportError, match=r"'norm' has shape \['N', 8, 8, 16\], its channels last"):
        open_torch(network, image_contract(side=64), OutputKind.SOFTMAX, ("norm",))


def test_two_class_tokens_are_refused_and_the_patch_projection_named_as_its_module() -> None:
    network = FAMILIES["ViT-B/16"].thin.network()
    network.class_token = nn.Parameter(torch.randn(1, 2, 32))
    network.position = nn.Parameter(torch.randn(1, 18, 32))
    with pytest.raises(ExportError, match=r"behind the attention: .*; --tap patches takes the"):
        open_torch(network, image_contract(side=64), OutputKind.SOFTMAX)
