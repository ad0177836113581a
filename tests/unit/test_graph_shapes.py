"""Shapes: which sizes count images, and which tensors hold one entry for each."""

import onnx
import pytest

from salience_export.errors import ExportError
from salience_export.graphs.shapes import shapes_of
from salience_export.graphs.tail import live_tensors
from salience_export.graphs.taps import tap_of
from tests.support.onnx_networks import Drawing


def windows() -> onnx.ModelProto:
    """A skip around `conv`, both in windows that stand in the batch, [4·N, 5, 4, 4]."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 5), stride=4), to="map")
    x = d.op("Add", _cut(d, x, "windows"), _cut(d, d.conv(x, (5, 5), to="conv"), "others"))
    d.dense(d.op("Reshape", x, d.ints(-1, 320), to="back"), (320, 3), to="logits")
    return d.model("logits")


def _cut(d: Drawing, x: str, to: str) -> str:
    x = d.op("Reshape", x, d.ints(-1, 5, 2, 4, 2, 4))
    x = d.op("Transpose", x, perm=[0, 2, 4, 1, 3, 5])
    return d.op("Reshape", x, d.ints(-1, 5, 4, 4), to=to)


def test_only_one_entry_an_image_makes_a_row() -> None:
    shapes = shapes_of(windows())
    assert all(shapes[name].is_row for name in ("images", "map", "conv", "back", "logits"))
    assert shapes["windows"].dimensions == (None, 5, 4, 4)
    assert not shapes["windows"].is_row


def test_parts_of_images_are_no_tap() -> None:
    with pytest.raises(ExportError, match=r"'windows' .*an entry an image"):
        tap_of(windows(), "windows")


def test_a_tap_that_parts_of_images_go_around_is_refused() -> None:
    model = windows()
    with pytest.raises(ExportError, match="around tap 'conv' goes 'windows', which is not one row"):
        live_tensors(model, tap_of(model, "conv"))
