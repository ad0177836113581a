"""What a graph states outright, in any of the forms that ONNX has, as a plain tensor."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

_TYPES = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


def constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor that a Constant puts out, under its name; None of other nodes, and of texts."""
    if node.op_type != "Constant" or not node.attribute:
        return None
    stated, found = node.attribute[0], onnx.TensorProto()
    if stated.name in _TYPES:
        values = np.array(helper.get_attribute_value(stated), _TYPES[stated.name])
        found.CopyFrom(numpy_helper.from_array(values))
    elif stated.name in ("value", "sparse_value"):
        found.CopyFrom(stated.t if stated.name == "value" else dense(stated.sparse_tensor))
    else:
        return None
    found.name = node.output[0]
    return found


def dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """A sparse tensor with its zeros, under the name of its values."""
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    found = np.zeros(tuple(sparse.dims), values.dtype)
    found[np.unravel_index(places, found.shape) if places.ndim == 1 else tuple(places.T)] = values
    return numpy_helper.from_array(found, sparse.values.name)
