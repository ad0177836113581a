"""Graphs that round as lower precisions do, in float32: what a CPU can tell of a GPU's numbers.

A graph in float16 cannot simply be run on the CPU: ONNX Runtime, which has few float16
kernels there, runs most of it in float32 and leaves out roundings between (of six
convolutions with ReLU it kept half the error). Casts to float16 and back that a graph
states itself are kept.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from salience_export.graphs.flow import Flow
from salience_export.graphs.shapes import inferable
from salience_service.bundle.tensors import IMAGES

Rounding = Callable[[str, str], list[onnx.NodeProto]]
"""The nodes that make a tensor, of the second name, by rounding the one of the first."""

_SPLITTER = "tf32/splitter"
_SPLIT = 2.0**13 + 1
"""Veltkamp's constant for the 11 leading of 24 bits (Dekker 1971, A floating-point technique
for extending the available precision, Numerische Mathematik 18): t = s·x, t − (t − x)."""

_TF32_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What tensor cores compute, of their first two inputs each."""


def in_tf32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with operands of products rounded to 10 bits of mantissa; sums in float32.

    Rounded to nearest, as NVIDIA's libraries convert; where the hardware is given float32 as
    it is, it cuts the bits off, which is at most twice the error.

    Args:
        model: weights may lie outside; subgraphs are left as they are.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    floats = _floats(model)
    rounded = _Rounded(_tf32)
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        if node.op_type in _TF32_OPERATORS:
            nodes += rounded.operands(node, floats, 2)
        nodes.append(node)
    _set_nodes(result.graph, nodes)
    result.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(_SPLIT, np.float32), _SPLITTER)
    )
    return result


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every weight and number of its network rounded to float16; sums float32.

    As `half_of` lets it run: what composes the images stays in float32.

    Args:
        model: as for `in_tf32`.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    floats, composing = _floats(model), Flow(model).before([IMAGES])
    ends = {value.name for value in model.graph.output} & floats
    rounded = _Rounded(_float16)
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        if composing.isdisjoint(node.output):
            nodes += [*rounded.operands(node, floats, len(node.input)), node, *_put_out(node, ends)]
        else:
            nodes.append(node)
    _set_nodes(result.graph, nodes)
    return result


def _put_out(node: onnx.NodeProto, ends: set[str]) -> list[onnx.NodeProto]:
    """Rounds what a node puts out of the graph; the node (changed in place) makes another."""
    made: list[onnx.NodeProto] = []
    for place, name in enumerate(node.output):
        if name in ends:
            node.output[place] = f"exact/{name}"
            made += _float16(f"exact/{name}", name)
    return made


class _Rounded:
    """The rounded twins of tensors, each made once, just before it is first read."""

    def __init__(self, rounding: Rounding) -> None:
        self._rounding = rounding
        self._twins: dict[str, str] = {}

    def operands(self, node: onnx.NodeProto, floats: set[str], count: int) -> list[onnx.NodeProto]:
        """Makes a node (changed in place) read twins; returns the nodes that make new ones."""
        made: list[onnx.NodeProto] = []
        for place, name in enumerate(node.input[:count]):
            if name not in floats:
                continue
            if name not in self._twins:
                self._twins[name] = f"rounded/{name}"
                made += self._rounding(name, self._twins[name])
            node.input[place] = self._twins[name]
        return made


def _tf32(name: str, to: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", [name, _SPLITTER], [f"{to}/scaled"]),
        helper.make_node("Sub", [f"{to}/scaled", name], [f"{to}/rest"]),
        helper.make_node("Sub", [f"{to}/scaled", f"{to}/rest"], [to]),
    ]


def _float16(name: str, to: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [name], [f"{to}/half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{to}/half"], [to], to=TensorProto.FLOAT),
    ]


def _floats(model: onnx.ModelProto) -> set[str]:
    """Names of the tensors that are float32, as far as inference can tell."""
    stated = onnx.ModelProto()
    stated.CopyFrom(model)
    del stated.graph.node[:]
    stated.graph.node.extend(map(inferable, model.graph.node))
    graph = onnx.shape_inference.infer_shapes(stated).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return floats | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def _set_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
