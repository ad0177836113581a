"""A small graph and its gradient, beside torch's: what the tests of the rules run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from salience_export.differentiate import differentiate
from salience_export.graphs.flow import Flow
from salience_export.graphs.shapes import Shape
from tests.support.in_double import evaluate_in_double, in_double
from tests.support.onnx_networks import run

Values = NDArray[np.generic]
Draw = Callable[[np.random.Generator, Sequence[int]], NDArray[np.float64]]

BATCHES = (1, 4)
"""Neither is one that shapes are inferred with."""

EXACT, SINGLE = 1e-8, 2e-5
"""Differences allowed, relative to the largest number of a tensor: float64, float32."""


def normal(random: np.random.Generator, sizes: Sequence[int]) -> NDArray[np.float64]:
    return random.normal(size=sizes)


def tied(random: np.random.Generator, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Few different numbers, kinks of activations among them: many ties."""
    return random.integers(-3, 4, sizes).astype(np.float64)


def positive(random: np.random.Generator, sizes: Sequence[int]) -> NDArray[np.float64]:
    return random.uniform(0.5, 2, sizes)


@dataclass(frozen=True)
class Case:
    """A graph of few nodes, and the same function in torch.

    Attributes:
        nodes: from `a`, `b`, … and `weights` to `y`.
        twin: the function in torch, of a, b, … in float64.
        sizes: of a, b, …; None counts images.
        weights: constants by name.
        draw: random numbers for a, b, …
        opset: of the graph.
    """

    nodes: Sequence[onnx.NodeProto]
    twin: Callable[..., Tensor]
    sizes: Sequence[tuple[int | None, ...]]
    weights: Mapping[str, Values] = field(default_factory=dict)
    draw: Draw = normal
    opset: int = 17

    @property
    def moving(self) -> list[str]:
        return [chr(ord("a") + number) for number in range(len(self.sizes))]

    @property
    def constants(self) -> list[onnx.TensorProto]:
        return [numpy_helper.from_array(np.asarray(v), name) for name, v in self.weights.items()]


def one(operator: str, *inputs: str, **attributes: object) -> list[onnx.NodeProto]:
    """A graph of one node that makes `y`."""
    return [helper.make_node(operator, inputs, ["y"], **attributes)]


def check(case: Case) -> None:
    """The gradients equal torch's in float64, and ONNX Runtime runs them in float32."""
    check_in_double(case)
    check_in_single(case)


def check_in_single(case: Case) -> None:
    """ONNX Runtime runs the gradients in float32, and they equal torch's as closely as that can."""
    model = differentiated(case)
    onnx.checker.check_model(model, full_check=True)
    for batch in BATCHES:
        feeds, expected = _by_torch(case, batch)
        narrow = {name: value.astype(np.float32) for name, value in feeds.items()}
        _compare(run(model, **narrow), expected, SINGLE)


def check_in_double(case: Case) -> None:
    """The gradients equal torch's in float64, of a node that ONNX Runtime may not run."""
    model = with_gradients(in_double(graph_of(case)), case.moving)
    for batch in BATCHES:
        feeds, expected = _by_torch(case, batch)
        _compare(evaluate_in_double(model, **feeds), expected, EXACT)


def differentiated(case: Case) -> onnx.ModelProto:
    """The case's float32 graph with its gradients."""
    return with_gradients(graph_of(case), case.moving)


def graph_of(case: Case) -> onnx.ModelProto:
    """The case's float32 graph. Its first input `x` holds an image's numbers of a, b, … in a row.

    (Shapes are inferred for a batch that the first input states, so others cannot have one.)
    Those of a, b, … that have no batch are inputs themselves.
    """
    sizes_of = dict(zip(case.moving, case.sizes, strict=True))
    rows = {name: sizes for name, sizes in sizes_of.items() if None in sizes}
    lengths = [_length(sizes) for sizes in rows.values()] or [1]
    constants = [numpy_helper.from_array(np.array(lengths, np.int64), "lengths")]
    parts = [f"{name}_row" for name in rows] or ["nothing"]
    nodes = [helper.make_node("Split", ["x", "lengths"], parts, axis=1)]
    for name, sizes in rows.items():
        shape = np.array([-1 if size is None else size for size in sizes], np.int64)
        constants.append(numpy_helper.from_array(shape, f"{name}_shape"))
        nodes.append(helper.make_node("Reshape", [f"{name}_row", f"{name}_shape"], [name]))
    inputs = [_declared("x", ("N", sum(lengths)))]
    inputs += [_declared(name, sizes) for name, sizes in sizes_of.items() if name not in rows]
    graph = helper.make_graph(
        [*nodes, *case.nodes], "case", inputs, [_declared("y", None)], [*constants, *case.constants]
    )
    opset = helper.make_opsetid("", case.opset)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def with_gradients(model: onnx.ModelProto, wanted: Sequence[str]) -> onnx.ModelProto:
    """The graph with the cotangent `dy` of `y` as an input more, and `d_…` of each as an output."""
    gradients = differentiate(model, {"y": "dy"}, wanted)
    shapes = Flow(model).shapes
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    graph.node.extend(gradients.nodes)
    graph.initializer.extend(gradients.weights)
    graph.input.append(_of_shape("dy", shapes["y"]))
    graph.output[0].CopyFrom(_of_shape("y", shapes["y"]))
    for name, gradient in gradients.names.items():
        graph.node.append(helper.make_node("Identity", [gradient], [f"d_{name}"]))
        graph.output.append(_of_shape(f"d_{name}", shapes[name]))
    return result


def _of_shape(name: str, shape: Shape) -> onnx.ValueInfoProto:
    sizes = [
        f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape.dimensions)
    ]
    return helper.make_tensor_value_info(name, shape.element, sizes)


def _declared(name: str, sizes: Sequence[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)


def _length(sizes: Sequence[int | None]) -> int:
    return int(np.prod([size for size in sizes if size is not None]))


def _by_torch(case: Case, batch: int) -> tuple[dict[str, Values], dict[str, Values]]:
    """Random numbers that float32 holds, and what torch makes of them."""
    random = np.random.default_rng(batch)
    drawn = [
        case.draw(random, [batch if size is None else size for size in sizes])
        .astype(np.float32)
        .astype(np.float64)
        for sizes in case.sizes
    ]
    moving = [torch.from_numpy(values).requires_grad_() for values in drawn]
    y = case.twin(*moving)
    cotangent = random.normal(size=tuple(y.shape)).astype(np.float32).astype(np.float64)
    gradients = torch.autograd.grad(y, moving, torch.from_numpy(cotangent))
    feeds: dict[str, Values] = {"dy": cotangent}
    rows = []
    for name, sizes, values in zip(case.moving, case.sizes, drawn, strict=True):
        if None in sizes:
            rows.append(values.reshape(batch, -1))
        else:
            feeds[name] = values
    feeds["x"] = np.concatenate(rows, 1) if rows else np.zeros((batch, 1))
    found = {f"d_{name}": g.numpy() for name, g in zip(case.moving, gradients, strict=True)}
    return feeds, {"y": y.detach().numpy(), **found}


def _compare(found: Mapping[str, Values], expected: Mapping[str, Values], limit: float) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        scale = float(np.abs(values).max()) or 1.0
        worst = float(np.abs(found[name] - values).max()) / scale
        assert worst <= limit, f"{name} is {worst:.1e} from torch"
