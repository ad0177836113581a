"""The walk back through a graph: what flows together adds up."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from salience_export.differentiate import differentiate
from tests.support.in_double import evaluate_in_double, in_double
from tests.support.walks import SHAPE, model_of, node


def gradients_of(
    model: onnx.ModelProto, cotangents: dict[str, str], wanted: list[str], **feeds: np.ndarray
) -> dict[str, np.ndarray]:
    """The gradients of the tensors asked for, computed in float64."""
    wide = in_double(model)
    found = differentiate(wide, cotangents, wanted)
    wide.graph.node.extend(found.nodes)
    wide.graph.initializer.extend(found.weights)
    for name in cotangents.values():
        wide.graph.input.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, SHAPE))
    del wide.graph.output[:]
    wide.graph.output.extend(
        helper.make_tensor_value_info(found.names[name], TensorProto.DOUBLE, SHAPE)
        for name in wanted
    )
    answer = evaluate_in_double(wide, **feeds)
    return {name: answer[found.names[name]] for name in wanted}


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, 3, 4))


def test_a_tensor_that_several_nodes_use_gets_the_sum() -> None:
    model = model_of(
        [
            node("Tanh", "x", to="t"),
            node("Mul", "t", "x", to="p"),
            node("Sigmoid", "t", to="s"),
            node("Mul", "s", "t", to="q"),
            node("Add", "p", "q", to="y"),
        ]
    )
    found = gradients_of(model, {"y": "dy"}, ["x"], x=drawn(0), dy=drawn(1))
    x = torch.from_numpy(drawn(0)).requires_grad_()
    t = x.tanh()
    (expected,) = torch.autograd.grad(t * x + t.sigmoid() * t, x, torch.from_numpy(drawn(1)))
    np.testing.assert_allclose(found["x"], expected.numpy(), rtol=1e-12)


def test_tensors_along_the_way_get_theirs_at_once() -> None:
    model = model_of(
        [
            node("Exp", "x", to="first"),
            node("Tanh", "first", to="second"),
            node("Mul", "second", "first", to="third"),
            node("Sin", "third", to="y"),
        ]
    )
    wanted = ["x", "first", "second", "third", "y"]
    found = gradients_of(model, {"y": "dy"}, wanted, x=drawn(0), dy=drawn(1))
    x = torch.from_numpy(drawn(0)).requires_grad_()
    first = x.exp()
    second = first.tanh()
    third = second * first
    y = third.sin()
    tensors = [x, first, second, third, y]
    expected = torch.autograd.grad(y, tensors, torch.from_numpy(drawn(1)))
    for name, gradient in zip(wanted, expected, strict=True):
        np.testing.assert_allclose(found[name], gradient.numpy(), rtol=1e-12, err_msg=name)


def test_several_ends_add_up() -> None:
    model = model_of(
        [node("Tanh", "x", to="t"), node("Exp", "t", to="y"), node("Neg", "t", to="z")], ("y", "z")
    )
    ends = {"y": "dy", "z": "dz", "t": "dt"}
    feeds = {"dy": drawn(1), "dz": drawn(2), "dt": drawn(3)}
    found = gradients_of(model, ends, ["x", "t"], x=drawn(0), **feeds)
    t = np.tanh(drawn(0))
    d_t = np.exp(t) * feeds["dy"] - feeds["dz"] + feeds["dt"]
    np.testing.assert_allclose(found["t"], d_t, rtol=1e-12)
    np.testing.assert_allclose(found["x"], d_t * (1 - t * t), rtol=1e-12)
