"""The forward graph: logits, taps and live tensors, exactly as the source computes them."""

import numpy as np
import onnx

from salience_export.graphs.flow import rename
from salience_export.graphs.forward import build_forward, output_names
from salience_export.graphs.taps import tap_of
from tests.support.onnx_networks import evaluate, images, mobile_net, run


def forward(model: onnx.ModelProto, *tensors: str, live: tuple[str, ...] = ()) -> onnx.ModelProto:
    return build_forward(model, output_names([tap_of(model, name) for name in tensors], live))


def test_logits_and_taps_equal_the_source() -> None:
    model = mobile_net()
    found = run(forward(model, "block0", "block2", "head"), images=images(3))
    names = ("logits", "block0", "block2", "head")
    for output, expected in zip(
        ("logits", "tap_0", "tap_1", "tap_2"), evaluate(model, images(3), *names), strict=True
    ):
        np.testing.assert_allclose(found[output], expected, rtol=1e-4, atol=1e-4)


def test_a_tap_before_an_activation_keeps_its_negative_values() -> None:
    # The runtime fuses Conv and Clip; the tensor between them must stay what it was.
    model = mobile_net()
    head = next(node for node in model.graph.node if node.output[0] == "head")
    found = run(forward(model, head.input[0], "head"), images=images())
    (expected,) = evaluate(model, images(), head.input[0])
    assert found["tap_0"].min() < 0 <= found["tap_1"].min()
    np.testing.assert_allclose(found["tap_0"], expected, rtol=1e-4, atol=1e-4)


def test_taps_of_one_tensor_and_a_live_tensor_that_is_a_tap_share_an_output() -> None:
    model = mobile_net()
    taps = [tap_of(model, name) for name in ("block2", "block2", "head")]
    names = output_names(taps, ["head", "inside2", "inside2"])
    assert names == {"block2": "tap_0", "head": "tap_2", "inside2": "live_0"}
    outputs = [output.name for output in build_forward(model, names).graph.output]
    assert outputs == ["logits", "tap_0", "tap_2", "live_0"]


def test_the_image_itself_can_be_a_live_tensor() -> None:
    found = run(forward(mobile_net(), "head", live=("images",)), images=images())
    np.testing.assert_array_equal(found["live_0"], images())


def test_a_source_that_uses_our_names_inside_is_served_too() -> None:
    model = mobile_net()
    (expected,) = evaluate(model, images(), "block0")
    rename(model.graph, {"stem": "tap_0", "block0": "tap_1", "block2": "live_0"})
    found = run(forward(model, "tap_1", live=("live_0",)), images=images())
    np.testing.assert_allclose(found["tap_0"], expected, rtol=1e-4, atol=1e-4)


def test_what_no_output_needs_is_left_out() -> None:
    model = mobile_net()
    model.graph.node.append(onnx.helper.make_node("Relu", ["head"], ["unused"]))
    assert "unused" not in {n.output[0] for n in forward(model, "head").graph.node}
    onnx.checker.check_model(forward(model, "head"), full_check=True)
