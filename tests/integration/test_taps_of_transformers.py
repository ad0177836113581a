"""The taps of transformers: what is chosen of them, and what is refused."""

import pytest
import torch
from torch import nn

from salience_export.errors import ExportError
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import OutputKind, TokenLayout
from tests.support.contracts import image_contract
from tests.support.families import FAMILIES


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
