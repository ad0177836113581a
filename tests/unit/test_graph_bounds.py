"""Bounds of tensors, by the operators that make them."""

import math

import numpy as np
import pytest

from salience_export.graphs.bounds import bounds_of
from salience_export.graphs.flow import Flow
from tests.support.onnx_networks import Drawing

INF = math.inf


def bounded(*operators: str) -> tuple[float, float] | None:
    """Of what operators make one after another of a convolution, second inputs by NAME:NUMBER."""
    d = Drawing()
    x = d.conv("images", (3, 4))
    for number, each in enumerate(operators):
        name, _, value = each.partition(":")
        held = [d.weight(f"n{number}", np.array(value, np.float32))] if value else []
        x = d.op(name, x, *held)
    return bounds_of(Flow(d.model(x))).get(x)


@pytest.mark.parametrize(
    ("operators", "bounds"),
    [
        (("Sigmoid",), (0, 1)),
        (("Sigmoid", "Mul:-2", "Add:1"), (-1, 1)),
        (("Softmax", "Log"), (-INF, 0)),
        (("Tanh", "Mul:0.5", "Add:0.5", "GlobalAveragePool", "Flatten"), (0, 1)),
        (("Neg", "Exp", "Add:1", "Reciprocal"), (0, 1)),
        (("Softplus", "Neg", "Exp"), (0, 1)),
        (("Sigmoid", "Sub:1", "Neg", "Sqrt"), (0, 1)),
        (("Sigmoid", "Div:4"), (0, 0.25)),
        (("Sigmoid", "Div:-4"), (-INF, INF)),
        (("Relu",), (0, INF)),
        (("Relu", "Clip:-1"), (0, INF)),
        (("Tanh", "Clip:0"), (0, 1)),
        (("Sin",), None),
        (("Sigmoid", "Sin"), None),
    ],
)
def test_an_operator_sets_or_changes_them(
    operators: tuple[str, ...], bounds: tuple[float, float] | None
) -> None:
    assert bounded(*operators) == bounds


def test_a_clip_before_opset_11_states_its_limits_itself() -> None:
    d = Drawing()
    clipped = d.op("Clip", d.conv("images", (3, 4)), min=-1.0, max=6.0)
    assert bounds_of(Flow(d.model(clipped, opset=7)))[clipped] == (-1, 6)


@pytest.mark.parametrize("kind", ["Add", "ReduceSum"])
def test_a_share_of_a_sum_lies_between_0_and_1(kind: str) -> None:
    d = Drawing()
    part = d.op("Exp", d.conv("images", (3, 4)))
    other = d.op("Relu", d.conv("images", (3, 4)))
    whole = d.op("Add", part, other) if kind == "Add" else d.op("ReduceSum", part, d.ints(1))
    assert bounds_of(Flow(d.model(d.op("Div", part, whole, to="p"))))["p"] == (0, 1)
