"""The gradient graph: d (cotangent · logits) to the images and to every tap, in float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from salience_export.differentiate.step import NoRule
from salience_export.graphs.build import BuiltGraphs, GradientGraphs, build_graphs
from salience_export.graphs.flow import rename
from salience_export.graphs.taps import tap_of
from tests.support.in_double import evaluate_in_double, in_double
from tests.support.onnx_networks import Drawing, fire_net, images, mobile_net, run

Array = NDArray[np.float64]
CLASSES, STEP, CLOSE = 10, 1e-7, 1e-5
"""In float64 a slope over so short a step meets no kink, and the networks are straight
between kinks, so that rounding alone is left: 1e-15 over 1e-7."""


@dataclass(frozen=True)
class Net:
    """A network, taps of it that lie on every path and beside one."""

    model: onnx.ModelProto
    taps: tuple[str, ...]


def squeeze_net() -> onnx.ModelProto:
    d, pooled = fire_net(CLASSES)
    d.op("Flatten", pooled, to="logits", axis=1)
    return d.model("logits")


NETS = {
    "mobile": Net(mobile_net(), ("stem", "block1", "inside2", "block2", "head")),
    "fire": Net(squeeze_net(), ("conv1", "expand1", "fire", "scores")),
}


def build(model: onnx.ModelProto, tensors: Sequence[str]) -> BuiltGraphs:
    return build_graphs(model, [tap_of(model, tensor) for tensor in tensors])


def gradient_of(built: BuiltGraphs) -> onnx.ModelProto:
    assert isinstance(built.gradients, GradientGraphs)
    return built.gradients.gradient


@pytest.fixture(scope="module", params=sorted(NETS))
def built(request: pytest.FixtureRequest) -> BuiltGraphs:
    net = NETS[request.param]
    return build(net.model, net.taps)


def given(count: int) -> tuple[Array, Array]:
    """Images and cotangents."""
    cotangent = np.random.default_rng(1).normal(size=(count, CLASSES))
    return images(count).astype(np.float64), cotangent


def direction(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(2).normal(size=shape)


def per_image(products: Array) -> Array:
    return products.reshape(len(products), -1).sum(1)


def check_slope(found: Array, way: Array, ahead: Array, behind: Array, cotangent: Array) -> None:
    """Each image's gradient along the way is how its value changes along it."""
    slope = ((ahead - behind) * cotangent).sum(1) / (2 * STEP)
    np.testing.assert_allclose(per_image(found * way), slope, rtol=CLOSE)


@pytest.mark.parametrize("count", [1, 3])
def test_the_gradient_to_the_images_is_the_slope_of_each(built: BuiltGraphs, count: int) -> None:
    batch, cotangent = given(count)
    model, forward = in_double(gradient_of(built)), in_double(built.forward)
    found = evaluate_in_double(model, images=batch, cotangent=cotangent)
    way = direction(batch.shape)
    ahead, behind = (
        evaluate_in_double(forward, images=batch + sign * STEP * way)["logits"] for sign in (1, -1)
    )
    check_slope(found["d_images"], way, ahead, behind, cotangent)
    np.testing.assert_allclose(
        found["logits"], evaluate_in_double(forward, images=batch)["logits"], rtol=1e-12
    )


def test_the_gradient_to_a_tap_is_the_slope_of_its_tail(built: BuiltGraphs) -> None:
    batch, cotangent = given(2)
    model = in_double(gradient_of(built))
    found = evaluate_in_double(model, images=batch, cotangent=cotangent)
    clean = evaluate_in_double(in_double(built.forward), images=batch)
    for tail, output, live in zip(built.tails, built.outputs, built.live, strict=True):
        features = clean[output]
        way = direction(features.shape) * (features != 0)  # at a kink there is no slope
        fixed = {name: clean[name] for name in live}
        fixed |= {"image_of": np.arange(2), "keep": np.ones(features.shape[:2])}
        ahead, behind = (
            evaluate_in_double(in_double(tail), tap=features + sign * STEP * way, **fixed)["logits"]
            for sign in (1, -1)
        )
        assert found[f"d_{output}"].shape == features.shape
        check_slope(found[f"d_{output}"], way, ahead, behind, cotangent)


def test_onnx_runtime_agrees_in_float32(built: BuiltGraphs) -> None:
    batch, cotangent = given(3)
    exact = evaluate_in_double(in_double(gradient_of(built)), images=batch, cotangent=cotangent)
    feeds = {"images": batch.astype(np.float32), "cotangent": cotangent.astype(np.float32)}
    found = run(gradient_of(built), **feeds)
    assert found.keys() == exact.keys()
    for name, values in exact.items():
        assert np.linalg.norm(found[name] - values) <= 1e-5 * np.linalg.norm(values), name


def test_no_image_has_a_part_in_another_ones_gradient(built: BuiltGraphs) -> None:
    batch, cotangent = (each.astype(np.float32) for each in given(3))
    together = run(gradient_of(built), images=batch, cotangent=cotangent)
    batch[[0, 2]] *= 7
    cotangent[[0, 2]] = 0
    apart = run(gradient_of(built), images=batch, cotangent=cotangent)
    for name in together:
        np.testing.assert_allclose(apart[name][1], together[name][1], rtol=1e-4, atol=1e-6)
    assert not apart["d_images"][[0, 2]].any()


def test_taps_that_are_one_tensor_share_one_output() -> None:
    built = build(mobile_net(), ("block1", "block1", "head"))
    names = [value.name for value in gradient_of(built).graph.output]
    assert names == ["logits", "d_images", "d_tap_0", "d_tap_2"]


def test_a_source_that_uses_our_names_inside_is_differentiated_too() -> None:
    taps = ("block1", "head")
    batch, cotangent = (each.astype(np.float32) for each in given(2))
    plain = run(gradient_of(build(mobile_net(), taps)), images=batch, cotangent=cotangent)
    model = mobile_net()
    clash = {"stem": "cotangent", "block0": "d_images", "block1": "d_tap_0"}
    rename(model.graph, clash)
    found = run(gradient_of(build(model, ("d_tap_0", "head"))), images=batch, cotangent=cotangent)
    for name, values in plain.items():
        np.testing.assert_array_equal(found[name], values)


def test_the_graph_is_valid_and_takes_exactly_the_agreed_inputs(built: BuiltGraphs) -> None:
    model = gradient_of(built)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["images", "cotangent"]
    outputs = [f"d_{name}" for name in built.outputs]
    assert [value.name for value in model.graph.output] == ["logits", "d_images", *outputs]


def without_rule(after: str) -> onnx.ModelProto:
    """A network with a remainder, which no rule differentiates, behind one of its tensors."""
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 4), stride=2), to="conv")
    if after == "conv":
        x = d.op("Mod", x, d.weight("two", np.array(2, np.float32)), fmod=1)
    x = d.op("Flatten", d.op("GlobalAveragePool", d.conv(x, (4, 6), stride=2)))
    d.dense(x, (6, CLASSES), to="logits")
    return d.model("logits")


def test_an_operator_without_a_rule_is_named_and_the_other_graphs_are_built() -> None:
    built = build(without_rule("conv"), ["conv"])
    assert isinstance(built.gradients, NoRule)
    assert "Mod" in str(built.gradients)
    assert len(built.tails) == 1
    assert isinstance(build(without_rule("nowhere"), ["conv"]).gradients, GradientGraphs)
