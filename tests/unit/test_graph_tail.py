"""The tail graphs: the network from a tap on, with some channels kept."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from salience_export.errors import ExportError
from salience_export.graphs.build import BuiltGraphs, build_graphs
from salience_export.graphs.flow import rename
from salience_export.graphs.tail import build_tail, live_tensors
from salience_export.graphs.taps import choose_taps, tap_of
from salience_export.sources.torch_trace import quiet, to_onnx
from tests.support.networks import residual_net
from tests.support.onnx_networks import Drawing, evaluate, fire_net, images, mobile_net, run


def graphs(model: onnx.ModelProto, tensors: Sequence[str]) -> BuiltGraphs:
    return build_graphs(model, [tap_of(model, tensor) for tensor in tensors])


def tail_logits(
    built: BuiltGraphs, tap: int, image_of: Sequence[int], keep: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Runs the forward graph on three images and the tail on what it put out."""
    clean = run(built.forward, images=images(3))
    return run(
        built.tails[tap],
        tap=clean[built.outputs[tap]],
        **{name: clean[name] for name in built.live[tap]},
        image_of=np.array(image_of),
        keep=keep,
    )["logits"]


def fires() -> onnx.ModelProto:
    drawing, pooled = fire_net()
    drawing.op("Flatten", pooled, to="logits")
    return drawing.model("logits")


@pytest.mark.parametrize(
    ("model", "tensors"),
    [
        (mobile_net(), ["block0", "block1", "inside2", "block2", "head"]),
        (fires(), ["conv1", "expand1", "fire", "scores"]),
    ],
    ids=["mobile", "fire"],
)
def test_a_tail_with_all_channels_kept_gives_the_forward_logits(
    model: onnx.ModelProto, tensors: list[str]
) -> None:
    built = graphs(model, tensors)
    (logits,) = evaluate(model, images(3), "logits")
    image_of = [2, 0, 0, 1]
    for position, tensor in enumerate(tensors):
        channels = tap_of(model, tensor).channels
        found = tail_logits(built, position, image_of, np.ones((4, channels), np.float32))
        np.testing.assert_allclose(found, logits[image_of], rtol=1e-4, atol=1e-4)
        onnx.checker.check_model(built.tails[position], full_check=True)


def test_a_skip_around_a_tap_is_taken_from_the_clean_run() -> None:
    built = graphs(mobile_net(), ["inside2", "block1"])
    assert built.live == (("tap_1",), ())
    alone = graphs(mobile_net(), ["inside2"])
    assert alone.live == (("live_0",),)
    assert [value.name for value in alone.tails[0].graph.input] == [
        "tap", "live_0", "image_of", "keep",
    ]  # fmt: skip


def test_a_dropped_channel_equals_torch_with_the_feature_set_to_zero() -> None:
    network = residual_net()
    with quiet():
        model = to_onnx(network, torch.from_numpy(images(2)), ["layer2", "layer2.conv1"])
    built = graphs(model, ["tap_0", "tap_1"])
    for position, module in enumerate((network.layer2, network.layer2.conv1)):
        for channel in (0, 5):
            keep = np.ones((3, 16), np.float32)
            keep[:, channel] = 0
            found = tail_logits(built, position, [0, 1, 2], keep)
            handle = module.register_forward_hook(_without(channel))
            with torch.no_grad():
                wanted = network(torch.from_numpy(images(3))).numpy()
            handle.remove()
            assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def _without(channel: int):
    def hook(module, inputs, output):
        changed = output.clone()
        changed[:, channel] = 0
        return changed

    return hook


def test_a_batch_computed_from_the_image_follows_the_rows_of_the_tail() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 4)), to="relu")
    batch = d.op("Gather", d.op("Shape", "images"), d.ints(0))
    target = d.op("Concat", batch, d.ints(4), axis=0)
    x = d.op("Reshape", d.op("GlobalAveragePool", x), target)
    d.dense(x, (4, 3), to="logits")
    model = d.model("logits")
    built = graphs(model, ["relu"])
    assert built.live == ((),)
    found = tail_logits(built, 0, [0, 1, 2, 2, 1], np.ones((5, 4), np.float32))
    (logits,) = evaluate(model, images(3), "logits")
    np.testing.assert_allclose(found, logits[[0, 1, 2, 2, 1]], rtol=1e-4, atol=1e-4)


def test_a_source_that_uses_our_names_inside_is_served_too() -> None:
    model = mobile_net()
    rename(model.graph, {"inside2": "tap", "block1": "keep", "block2": "whole"})
    built = graphs(model, ["tap"])
    found = tail_logits(built, 0, [1, 2], np.ones((2, 10), np.float32))
    (logits,) = evaluate(mobile_net(), images(3), "logits")
    np.testing.assert_allclose(found, logits[[1, 2]], rtol=1e-4, atol=1e-4)


def test_a_tail_holds_only_the_network_after_its_tap() -> None:
    built = graphs(mobile_net(), ["head"])
    kinds = [node.op_type for node in built.tails[0].graph.node]
    assert kinds == ["Gather", "Unsqueeze", "Mul", "GlobalAveragePool", "Flatten", "Gemm"]


def test_a_tap_that_the_logits_do_not_need_is_refused() -> None:
    model = mobile_net()
    model.graph.node.append(onnx.helper.make_node("Relu", ["head"], ["unused"]))
    with pytest.raises(ExportError, match="do not depend on tap 'unused'"):
        live_tensors(model, tap_of(model, "unused"))


def test_a_skip_that_is_not_one_row_an_image_is_refused() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 4)), to="relu")
    whole = d.op("ReduceSum", d.op("Abs", "images"), keepdims=0, to="whole")
    x = d.op("Flatten", d.op("GlobalAveragePool", d.op("Div", x, whole)), axis=1)
    d.dense(x, (4, 3), to="logits")
    model = d.model("logits")
    with pytest.raises(ExportError, match="'whole', which is not one row an image"):
        build_tail(model, tap_of(model, "relu"), {})


def test_chosen_taps_all_have_tails() -> None:
    model = mobile_net()
    taps = choose_taps(model, 10)
    assert len(build_graphs(model, taps).tails) == len(taps)
