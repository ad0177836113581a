"""Whole networks: the taps of every family, and its gradient graphs against torch's autograd.

A thin network of each family (random weights, BatchNorm statistics measured on noise) is
exported in float64, so that what the exporter folds is as exact as torch, and differentiated in
float64 and, its numbers rounded, in float32.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from salience_export.graphs.taps import choose_taps
from salience_service.bundle.tensors import IMAGES, LOGITS
from tests.support.families import FAMILIES, Family
from tests.support.families.gradients import doubled, gradient_graph, torch_gradients, traced
from tests.support.families.single import in_single
from tests.support.families.table import FEW
from tests.support.in_double import evaluate_in_double

Arrays = Mapping[str, NDArray[np.float64]]

EXACT = 1e-8
"""Largest difference in float64, as a share of the largest number expected."""
LEAST = 1e-6
"""A difference in float32 that is never too much: torch's own is 1e-7 to 1e-6."""
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


@dataclass(frozen=True)
class Subject:
    """A thin network in torch's float32 and float64, and as traced in float64."""

    name: str
    family: Family
    single: nn.Module
    double: nn.Module
    model: onnx.ModelProto


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request: pytest.FixtureRequest) -> Subject:
    family = FAMILIES[request.param]
    network = family.thin.network()
    model = traced(copy.deepcopy(network).double(), family.taps, family.thin.size)
    return Subject(request.param, family, network, doubled(network), model)


def questions(subject: Subject, count: int) -> tuple[Tensor, Tensor]:
    """Images and cotangents, float32."""
    generator = torch.Generator().manual_seed(3)
    size = subject.family.thin.size
    images = torch.randn(count, 3, size, size, generator=generator)
    classes = subject.model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return images, torch.randn(count, classes, generator=generator)


def by_torch(network: nn.Module, subject: Subject, images: Tensor, cotangent: Tensor) -> Arrays:
    found = torch_gradients(network, subject.family.taps, images, cotangent)
    return {name: each.numpy() for name, each in found.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_full_network_has_as_many_weights_as_were_published(name: str) -> None:
    with torch.device("meta"):
        network = FAMILIES[name].full.make()
    assert sum(each.numel() for each in network.parameters()) == FAMILIES[name].weights


def test_the_taps_of_every_family_are_square_as_its_images_are(subject: Subject) -> None:
    taps = choose_taps(in_single(subject.model), FEW)
    assert all(tap.height == tap.width for tap in taps)
    assert " ".join(f"{tap.channels}×{tap.height}" for tap in taps) == CHOSEN[subject.name]


@pytest.mark.parametrize("count", [1, 3])
def test_in_float64_gradients_equal_autograd(subject: Subject, count: int) -> None:
    images, cotangent = (each.double() for each in questions(subject, count))
    expected = by_torch(subject.double, subject, images, cotangent)
    graph = gradient_graph(subject.model)
    found = evaluate_in_double(graph, images=images.numpy(), cotangent=cotangent.numpy())
    assert found.keys() == expected.keys() == {LOGITS, "d_images", "d_tap_0", "d_tap_1"}
    for name, wanted in expected.items():
        assert found[name].shape == wanted.shape, name
        assert np.abs(found[name] - wanted).max() <= EXACT * np.abs(wanted).max(), name


def test_in_float32_gradients_are_as_near_to_float64_as_autograd_is(subject: Subject) -> None:
    """No further than twice torch's own float32, by the median over images of ‖Δ‖₂ / ‖exact‖₂.

    The median, since a rounding that crosses a kink (of ReLU, of max-pooling) changes one
    image's gradient visibly, in torch as in ONNX Runtime, and it need not be the same image.
    """
    images, cotangent = questions(subject, 3)
    exact = by_torch(subject.double, subject, images.double(), cotangent.double())
    torch_s = by_torch(subject.single, subject, images, cotangent)
    graph = gradient_graph(in_single(subject.model))
    found = by_runtime(graph, {IMAGES: images.numpy(), "cotangent": cotangent.numpy()})
    for name, wanted in exact.items():
        limit = 2 * distance(torch_s[name], wanted) + LEAST
        assert distance(found[name], wanted) <= limit, name


def by_runtime(model: onnx.ModelProto, feeds: Mapping[str, NDArray[np.float32]]) -> Arrays:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def distance(found: NDArray[np.float64], exact: NDArray[np.float64]) -> float:
    rows, wanted = found.reshape(len(found), -1), exact.reshape(len(exact), -1)
    errors = np.linalg.norm(rows - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    return float(np.median(errors))
