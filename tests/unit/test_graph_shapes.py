"""Shapes: which sizes count images, and which tensors hold one entry for each."""

import onnx
import pytest
from onnx import TensorProto, helper

from salience_export.errors import ExportError
from salience_export.graphs.build import build_graphs
from salience_export.graphs.shapes import Shape, shapes_of
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


def most(*stated: onnx.ValueInfoProto) -> onnx.ModelProto:
    """The greatest numbers of a map, as many as the graph computes in a way inference loses."""
    d = Drawing()
    x = d.op("Reshape", d.conv("images", (3, 5), stride=4, to="conv"), d.ints(0, 0, -1))
    count = d.op("Gather", d.op("Shape", x), d.ints(2))
    d.nodes.append(helper.make_node("TopK", [x, d.op("Reshape", count, d.ints(1))], ["most", ""]))
    d.dense(d.op("ReduceMean", "most", axes=[2], keepdims=0), (5, 3), to="logits")
    model = d.model("logits")
    model.graph.value_info.extend(stated)
    return model


def stated(name: str, *sizes: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)


def test_what_inference_cannot_tell_is_as_the_graph_states_it() -> None:
    shapes = shapes_of(most(stated("most", "N", 5, 64), stated("logits", "N", 3)))
    assert shapes["most"] == Shape(TensorProto.FLOAT, (None, 5, 64), is_row=True)
    assert shapes["logits"].dimensions == (None, 3)


def test_what_the_graph_states_of_another_batch_or_against_inference_is_left_aside() -> None:
    shapes = shapes_of(most(stated("most", 1, 5, 64), stated("conv", "N", 7, 8, 8)))
    assert "most" not in shapes
    assert shapes["conv"].dimensions == (None, 5, 8, 8)


def test_logits_of_unknown_shape_are_refused_by_the_operator_that_hides_it() -> None:
    model = most()
    with pytest.raises(ExportError, match="shape of 'most', which operator TopK puts out, cannot"):
        build_graphs(model, [tap_of(model, "conv")])
