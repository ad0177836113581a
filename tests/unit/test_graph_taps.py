"""Which tensors become taps when nobody names any."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from salience_export.errors import ExportError
from salience_export.graphs.flow import Flow, rename
from salience_export.graphs.normal import normal_form, take_images
from salience_export.graphs.taps import choose_taps, gates, tap_of
from tests.support.onnx_networks import Drawing, fire_net, mobile_net

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def names(model: onnx.ModelProto, classes: int = 10) -> list[str]:
    return [tap.name for tap in choose_taps(model, classes)]


def light(name: str) -> onnx.ModelProto:
    """A structure-only graph of the onnx wheel, its last tensor called `logits`."""
    model = normal_form(onnx.load(LIGHT / f"light_{name}.onnx"))
    model = take_images(model, (3, 224, 224), nhwc=False)
    rename(model.graph, {model.graph.output[0].name: "logits"})
    return model


def test_inverted_residuals_give_their_sums_and_linear_ends_and_the_last_map() -> None:
    taps = choose_taps(mobile_net(), 10)
    assert [(tap.name, tap.channels, tap.height, tap.width) for tap in taps] == [
        ("block0", 6, 16, 16),
        ("block3", 12, 8, 8),
        ("head", 24, 8, 8),
    ]


def test_a_residual_sum_is_taken_where_it_ends_its_resolution() -> None:
    model = mobile_net()
    shorter = [node for node in model.graph.node if node.output[0] != "block3"]
    del model.graph.node[:]
    model.graph.node.extend(shorter)
    rename(model.graph, {"block3": "block2"})
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    head = next(n for n in model.graph.node if n.op_type == "Conv" and n.input[0] == "block2")
    values = onnx.numpy_helper.to_array(weights[head.input[1]])[:, :10]
    weights[head.input[1]].CopyFrom(onnx.numpy_helper.from_array(values, head.input[1]))
    assert names(model) == ["block0", "block2", "head"]


def test_class_scores_and_copies_are_no_taps() -> None:
    drawing, pooled = fire_net(classes=10)
    drawing.op("Flatten", pooled, to="logits")
    assert names(drawing.model("logits")) == ["conv1", "fire"]


def test_a_sum_is_taken_with_the_activation_that_alone_follows_it() -> None:
    d = Drawing()
    x = d.conv("images", (3, 4))
    x = d.op("Relu", d.op("Add", x, d.conv(x, (4, 4)), to="sum"), to="after")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (4, 3), to="logits")
    assert names(d.model("logits")) == ["after"]


def test_a_swish_written_as_two_operators_belongs_to_its_convolution() -> None:
    d = Drawing()
    x = d.conv("images", (3, 4), to="conv")
    x = d.op("Mul", x, d.op("Sigmoid", x), to="swish")
    x = d.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], to="pool")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (4, 3), to="logits")
    assert names(d.model("logits"), 3) == ["swish", "pool"]


def test_what_a_network_does_to_its_image_before_the_first_layer_is_no_tap() -> None:
    d = Drawing()
    x = d.op("Mul", "images", "images", to="squared")
    x = d.op("Relu", d.conv(x, (3, 4), stride=2), to="relu")
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (4, 3), to="logits")
    assert names(d.model("logits")) == ["relu"]


def test_a_shape_read_from_the_image_is_no_way_around_a_tap() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 4)), to="relu")
    batch = d.op("Gather", d.op("Shape", "images"), d.ints(0))
    target = d.op("Concat", batch, d.ints(4), axis=0)
    x = d.op("Reshape", d.op("GlobalAveragePool", x), target)
    d.dense(x, (4, 3), to="logits")
    assert names(d.model("logits")) == ["relu"]


def test_gates_are_the_tensors_that_every_path_goes_through() -> None:
    d = Drawing()
    a = d.op("Relu", "images", to="a")
    b = d.op("Relu", a, to="b")
    c = d.op("Relu", a, to="c")
    d.op("Relu", a, to="unused")
    e = d.op("Add", b, c, to="e")
    d.op("Relu", e, to="logits")
    assert list(gates(Flow(d.model("logits")))) == ["a", "e", "logits"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", "64×112 256×56 512×28 1024×14 2048×7"),
        ("squeezenet", "64×111 128×55 256×27 512×13"),
        ("densenet121", "64×112 256×56 512×28 1024×14 1024×7 1024×7"),
        ("vgg19", "64×224 128×112 256×56 512×28 512×14 512×7"),
        ("inception_v1", "64×112 192×55 480×27 832×13 1024×6"),
    ],
)
def test_well_known_networks_give_their_stages(name: str, expected: str) -> None:
    taps = choose_taps(light(name), 1000)
    assert " ".join(f"{tap.channels}×{tap.height}" for tap in taps) == expected


def test_a_network_without_maps_has_no_taps_to_choose() -> None:
    d = Drawing()
    d.dense(d.op("Flatten", "images"), (3 * 32 * 32, 3), to="logits")
    with pytest.raises(ExportError, match="name taps"):
        choose_taps(d.model("logits"), 3)


def test_an_ensemble_is_told_to_be_exported_apart() -> None:
    d = Drawing()
    rows = [
        d.op("Flatten", d.op("GlobalAveragePool", d.op("Relu", d.conv("images", (3, 3)))))
        for _ in range(2)
    ]
    d.op("Mean", *rows, to="logits")
    with pytest.raises(ExportError, match=r"of an ensemble.*export each network by itself"):
        choose_taps(d.model("logits"), 3)


def test_sums_inside_a_pool_of_unequal_windows_end_no_block() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 4)), to="last")
    parts = [d.op("Gather", x, d.ints(0, 8 + shift, 16), axis=3) for shift in range(3)]
    total = d.op("Add", d.op("Add", *parts[:2]), parts[2], to="total")
    d.op("Div", total, d.weight("three", np.array(3, np.float32)), to="pooled")
    d.dense(d.op("Flatten", "pooled"), (4 * 32 * 3, 10), to="logits")
    assert names(d.model("logits")) == ["last", "pooled"]


def test_a_tap_of_another_element_type_is_told_its_type() -> None:
    d = Drawing()
    x = d.op("Cast", d.conv("images", (3, 4)), to="half", to_=0)
    d.nodes[-1].attribute[0].CopyFrom(onnx.helper.make_attribute("to", onnx.TensorProto.BFLOAT16))
    x = d.op("Cast", x, to="back", to_=0)
    d.nodes[-1].attribute[0].CopyFrom(onnx.helper.make_attribute("to", onnx.TensorProto.FLOAT))
    d.dense(d.op("Flatten", d.op("GlobalAveragePool", x)), (4, 5), to="logits")
    with pytest.raises(
        ExportError, match=r"'half' has shape \['N', 4, 32, 32\] in bfloat16: a tap"
    ):
        tap_of(d.model("logits"), "half")


def test_a_named_tensor_becomes_a_tap() -> None:
    tap = tap_of(mobile_net(), "inside2")
    assert (tap.name, tap.tensor) == ("inside2", "inside2")
    assert (tap.channels, tap.height, tap.width) == (10, 8, 8)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        ("nowhere", "computes no tensor 'nowhere'"),
        ("images", "computes no tensor 'images'"),
        ("logits", "has shape ['N', 10]"),
        ("pooled", "has shape ['N', 10, 1, 1]"),
    ],
)
def test_a_tensor_that_is_no_map_is_refused_as_tap(tensor: str, reason: str) -> None:
    drawing, pooled = fire_net()
    drawing.op("Flatten", pooled, to="logits")
    with pytest.raises(ExportError, match=re.escape(reason)):
        tap_of(drawing.model("logits"), tensor)
