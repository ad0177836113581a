"""A float64 graph in float32: the same nodes, every number rounded."""

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper


def in_single(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which float64 tensors, constants and casts are float32."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        _round(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _round(attribute.t)
            elif attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    return result


def _round(tensor: TensorProto) -> None:
    """Gives the tensor (changed in place) float32 numbers, if it holds float64 ones."""
    if tensor.data_type == TensorProto.DOUBLE:
        numbers = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
