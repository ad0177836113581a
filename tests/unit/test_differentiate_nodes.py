"""The walk back through a graph: which nodes are written, under which names, and when none are."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from salience_export.differentiate import differentiate
from salience_export.differentiate.step import NoRule
from salience_export.errors import ExportError
from salience_export.graphs.flow import names_of
from tests.support.walks import model_of, node


def test_all_operators_without_a_rule_are_named() -> None:
    model = model_of(
        [
            node("Tanh", "x", to="t"),
            node("Asinh", "t", to="a"),
            node("Det", "a", to="d"),
            node("Asinh", "d", to="y"),
        ]
    )
    with pytest.raises(NoRule, match=r"^no gradient rule for Asinh, Det$"):
        differentiate(model, {"y": "dy"}, ["x"])


def test_an_operator_without_a_rule_beside_the_way_is_no_matter() -> None:
    weight = np.ones((3, 4), np.float32)
    model = model_of(
        [
            node("Asinh", "w", to="constant"),
            node("Asinh", "x", to="before"),
            node("Tanh", "before", to="t"),
            node("Mul", "t", "constant", to="y"),
            node("Asinh", "t", to="z"),
        ],
        ("y", "z"),
        w=weight,
    )
    found = differentiate(model, {"y": "dy"}, ["before"])
    assert {each.op_type for each in found.nodes} == {"Mul", "Sub"}


def test_a_graph_that_does_not_depend_on_the_tensor_is_refused() -> None:
    model = model_of(
        [node("Tanh", "x", to="t"), node("Exp", "x", to="y"), node("Sin", "t", to="z")], ("y", "z")
    )
    with pytest.raises(ExportError, match="the outputs do not depend on 't'"):
        differentiate(model, {"y": "dy"}, ["x", "t"])


def test_a_graph_that_depends_on_the_tensor_by_steps_alone_is_refused() -> None:
    model = model_of([node("Tanh", "x", to="t"), node("Floor", "t", to="y")])
    with pytest.raises(ExportError, match="the outputs do not depend on 'x'"):
        differentiate(model, {"y": "dy"}, ["x"])


def test_a_constant_in_the_file_of_the_weights_is_refused_unread() -> None:
    """Its bytes are not here; a rule that wants them cannot be written."""
    model = model_of([node("Pow", "x", "power", to="y")], power=np.full((3, 4), 2, np.float32))
    (power,) = model.graph.initializer
    power.ClearField("raw_data")
    power.data_location = TensorProto.EXTERNAL
    power.external_data.add(key="location", value="weights.bin")
    with pytest.raises(NoRule, match=r"Pow with input 1 that is as large as weights are"):
        differentiate(model, {"y": "dy"}, ["x"])


def test_no_node_is_written_for_tensors_that_nobody_asked_for() -> None:
    """The way back ends at the tensor; weights, exponents and table indices get nothing."""
    weight = np.full((3, 4), 2, np.float32)
    model = model_of(
        [
            node("Exp", "x", to="before"),
            node("Mul", "before", "w", to="scaled"),
            node("Mul", "scaled", "w", to="more"),
            node("Div", "more", "w", to="y"),
        ],
        w=weight,
    )
    found = differentiate(model, {"y": "dy"}, ["scaled"])
    assert [each.op_type for each in found.nodes] == ["Div", "Mul"]
    assert found.names == {"scaled": found.nodes[-1].output[0]}
    assert not found.weights


def test_every_node_that_is_written_serves_a_tensor_asked_for() -> None:
    weight = np.full((3, 4), 2, np.float32)
    axes = np.array([2], np.int64)
    model = model_of(
        [
            node("Softmax", "x", to="s"),
            node("Mul", "s", "x", to="p"),
            node("ReduceSum", "p", "axes", to="r"),
            node("Div", "p", "r", to="q"),
            node("Max", "q", "w", to="m"),
            node("Sub", "w", "m", to="y"),
        ],
        w=weight,
        axes=axes,
    )
    found = differentiate(model, {"y": "dy"}, ["x"])
    needed = set(found.names.values())
    for each in reversed(found.nodes):
        assert not needed.isdisjoint(each.output), each.op_type
        needed.update(each.input)
    assert {tensor.name for tensor in found.weights} <= needed


def test_names_never_meet_those_of_the_graph() -> None:
    taken = ["gradient/Mul_0", "gradient/Sub_1", "gradient/Mul_1", "gradient/constant_0"]
    model = model_of(
        [
            node("Tanh", "x", to=taken[0]),
            node("Tanh", taken[0], to=taken[1]),
            node("Tanh", taken[1], to=taken[2]),
            node("Tanh", taken[2], to="y"),
            node("Identity", "y", to=taken[3]),
        ]
    )
    cotangent = "gradient/Mul_2"
    found = differentiate(model, {"y": cotangent}, ["x"])
    made = [name for each in found.nodes for name in each.output]
    made += [tensor.name for tensor in found.weights]
    assert len(made) == len(set(made))
    assert not set(made) & (names_of(model.graph) | {cotangent})


def test_the_model_itself_is_left_as_it_was() -> None:
    model = model_of([node("Tanh", "x", to="t"), node("Mul", "t", "x", to="y")])
    before = model.SerializeToString(deterministic=True)
    differentiate(model, {"y": "dy"}, ["x"])
    assert model.SerializeToString(deterministic=True) == before


def test_a_further_output_that_is_used_is_refused() -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "w"], ["n", "mean"], axis=-1),
        node("Mul", "n", "mean", to="y"),
    ]
    model = model_of(nodes, w=np.ones(4, np.float32))
    with pytest.raises(NoRule, match="LayerNormalization with a further output that is used"):
        differentiate(model, {"y": "dy"}, ["x"])


def test_a_tensor_of_unknown_shape_is_refused() -> None:
    model = model_of([node("Reshape", "x", "target", to="t"), node("Sigmoid", "t", to="y")])
    model.graph.input.append(helper.make_tensor_value_info("target", TensorProto.INT64, [3]))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(NoRule, match="operator Sigmoid with a tensor of unknown shape"):
        differentiate(model, {"y": "dy"}, ["x"])
