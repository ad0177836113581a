"""Packages that our maps are compared with, imported where they are installed, else skipped."""

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest

from bench import torchvision_shim


def pytorch_grad_cam() -> ModuleType:
    """The package grad-cam; it asks for torchvision at import alone, and gets a stand-in for that.

    The stand-in does not stay: the exporter asks whether torchvision is there.
    """
    if importlib.util.find_spec("pytorch_grad_cam") is None:
        pytest.skip("parity with pytorch-grad-cam needs the package grad-cam")
    before = set(sys.modules)
    if "torchvision" not in before:
        torchvision_shim.install()
    found = importlib.import_module("pytorch_grad_cam")
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "torchvision" and sys.modules[name].__spec__ is None:
            del sys.modules[name]
    return found


def torchcam_methods() -> ModuleType:
    """The methods of torch-cam."""
    pytest.importorskip("torchcam", reason="parity with torch-cam needs the package torchcam")
    return importlib.import_module("torchcam.methods")


def captum_attr() -> ModuleType:
    """The attributions of captum."""
    return pytest.importorskip(
        "captum.attr", reason="parity with captum needs the package captum (pip --no-deps)"
    )
