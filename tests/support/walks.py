"""Small graphs for tests of the walk back: from `x` [N, 3, 4] to tensors of the same shape."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = ("N", 3, 4)


def model_of(
    nodes: list[onnx.NodeProto], outputs: tuple[str, ...] = ("y",), **weights: np.ndarray
) -> onnx.ModelProto:
    """A graph from `x` [N, 3, 4] to tensors of the same shape."""
    graph = helper.make_graph(
        nodes,
        "walk",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(operator: str, *inputs: str, to: str) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [to])
