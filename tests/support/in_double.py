"""Graphs in float64: a model's numbers widened, and an evaluator that is exact enough to judge.

It is onnx's own in numpy, with the operators of `double_operators` in place of some.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support.double_operators import IN_DOUBLE

Array = NDArray[Any]


_ZERO = numpy_helper.from_array(np.zeros(1, np.float32))
"""What ConstantOfShape holds where nothing is said."""


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every float32 is a float64: weights, inputs, outputs, casts, constants.

    (But Resize's scales, which are float32 by definition.)
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    scales = {node.input[2] for node in graph.node if node.op_type == "Resize" and node.input[2:]}
    for tensor in graph.initializer:
        if tensor.name not in scales:
            _widen(tensor)
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            node.attribute.append(helper.make_attribute("value", _ZERO))
        for attribute in node.attribute:
            _widen_attribute(node, attribute)
    return result


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        values = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen_attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> None:
    if node.op_type in ("Constant", "ConstantOfShape") and attribute.name == "value":
        _widen(attribute.t)
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        values = np.array(helper.get_attribute_value(attribute), np.float64)
        attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))
    elif attribute.name == "to" and attribute.i == TensorProto.FLOAT:
        attribute.i = TensorProto.DOUBLE


def evaluate_in_double(model: onnx.ModelProto, **feeds: Array) -> dict[str, Array]:
    """All outputs of a float64 model, by name."""
    names = [output.name for output in model.graph.output]
    runner = ReferenceEvaluator(model, new_ops=list(IN_DOUBLE))
    return dict(zip(names, runner.run(None, feeds), strict=True))
