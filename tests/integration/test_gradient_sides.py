"""The sides of a bundle: which there are, who is chosen, and that each is opened once."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.errors import BundleRefused, NotPossible
from salience_service.events import GradientSide
from salience_service.gradients.sides import GradientSides
from salience_service.request import GradientChoice
from salience_service.runtime.session import Device, Execution
from tests.support.bundles import without

ONNX, TORCH = GradientSide.ONNX, GradientSide.TORCH
AUTO = GradientChoice.AUTO
GRAPHS = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)


def sides_of(bundle: Bundle) -> GradientSides:
    return GradientSides(bundle, Device(threads=1))


def test_auto_is_onnx_where_both_sides_are_there(tiny_bundle: Bundle) -> None:
    sides = sides_of(tiny_bundle)
    assert sides.available == (ONNX, TORCH)
    assert sides.chosen(AUTO) is ONNX
    assert sides.chosen(GradientChoice.ONNX) is ONNX
    assert sides.chosen(GradientChoice.TORCH) is TORCH


def test_a_side_is_opened_once(tiny_bundle: Bundle) -> None:
    sides = sides_of(tiny_bundle)
    first = sides.open(ONNX)
    assert sides.open(ONNX) is first
    assert sides.open(ONNX).result() is first.result()


def test_a_side_that_is_not_there_cannot_be_opened(tiny_bundle: Bundle, tmp_path: Path) -> None:
    sides = sides_of(without(tiny_bundle, tmp_path / "1", *GRAPHS, program=False))
    for side in (ONNX, TORCH):
        with pytest.raises(NotPossible, match="export it"):
            sides.open(side)


@pytest.mark.parametrize("role", GRAPHS)
def test_a_gradient_graph_that_changed_on_disk_is_refused_when_it_is_opened(
    tiny_bundle: Bundle, tmp_path: Path, role: GraphRole
) -> None:
    shutil.copytree(tiny_bundle.directory, tmp_path / "1")
    bundle = open_bundle(tmp_path / "1")
    graph = bundle.manifest.graph(role)
    assert graph is not None
    path = bundle.path(graph.path)
    whole = path.read_bytes()
    sides = sides_of(bundle)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleRefused, match="does not match its SHA-256"):
        sides.open(ONNX).result()
    path.write_bytes(whole)  # A failure is no sentence: the next who asks opens it.
    image = np.ones((3, 32, 32), np.float32)
    cotangent = np.eye(10, dtype=np.float32)[0]
    _, found = sides.open(ONNX).result().gradient(image, cotangent, ["images"], Execution())
    assert found["images"].shape == image.shape
