"""Whether a tap goes to the logits by global average pooling and one linear layer alone."""

import math
from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from salience_export.graphs.constants import constant_of
from salience_export.graphs.flow import Flow
from salience_export.source import SourceTap
from salience_service.bundle.manifest import TokenLayout
from salience_service.bundle.tensors import LOGITS

_POOLS = frozenset({"GlobalAveragePool", "ReduceMean", "AveragePool"})
_LINEAR = frozenset({"Gemm", "MatMul", "Conv"})
_ARRANGES = frozenset({"Flatten", "Reshape", "Squeeze", "Identity", "Dropout"})


def has_linear_head(flow: Flow, tap: SourceTap) -> bool:
    """Whether CAM is defined at this tap: logits = b + W · mean over the map.

    The pooling and the layer (matrix product or 1×1 convolution) may come in either order,
    since they commute; a constant may be added after the layer.
    """
    if tap.layout is TokenLayout.CLASS_AND_TOKENS:  # A mean would take the class token in.
        return False
    name, kinds = tap.tensor, list[str]()
    while name != LOGITS:
        users = flow.consumers.get(name, [])
        if len(users) != 1:
            return False
        kind = _kind(flow, users[0], name, pooled="pool" in kinds)
        if kind is None:
            return False
        kinds.append(kind)
        name = users[0].output[0]
    steps = [kind for kind in kinds if kind != "arrange"]
    return sorted(step for step in steps if step != "add") == ["linear", "pool"] and (
        "add" not in steps or steps.index("add") > steps.index("linear")
    )


def _kind(flow: Flow, node: onnx.NodeProto, name: str, pooled: bool) -> str | None:
    """What the node does to the tensor; None where it is none of what CAM allows."""
    others_are_constant = all(other == name or other not in flow.rows for other in node.input)
    if not others_are_constant or node.output[0] not in flow.shapes:
        return None
    before, after = flow.shapes[name].per_image, flow.shapes[node.output[0]].per_image
    if node.op_type in _POOLS:
        return "pool" if not pooled and _pools_all(flow, node, before, after) else None
    if node.op_type in _LINEAR:
        mixes_channels = node.op_type != "Conv" or _is_one_by_one(flow, node)
        return "linear" if mixes_channels and node.input[0] == name else None
    if node.op_type == "Add":
        return "add"
    return "arrange" if node.op_type in _ARRANGES and pooled else None


def _pools_all(
    flow: Flow, node: onnx.NodeProto, before: Sequence[int], after: Sequence[int]
) -> bool:
    """Whether it is the mean over all places of a map [C, h, w], or of tokens [T, C].

    That one number a channel is left says too little: a window of 7×7 that steps over 8×8 cells
    leaves one, of 49 of the 64.
    """
    is_map, rank = len(before) == 3, 1 + len(before)
    if math.prod(after) != (before[0] if is_map else before[-1]):
        return False
    if node.op_type == "ReduceMean":
        return {axis % rank for axis in _axes(flow, node)} == ({2, 3} if is_map else {1})
    if node.op_type == "AveragePool":
        whole = list(_attribute(node, "kernel_shape", ())) == list(before[1:])
        return is_map and whole and not any(_attribute(node, "pads", ()))
    return is_map


def _is_one_by_one(flow: Flow, node: onnx.NodeProto) -> bool:
    """Whether a convolution mixes the channels of each place, and leaves no place out."""
    weight = _held(flow, node.input[1])
    plain = _attribute(node, "group", 1) == 1 and not any(_attribute(node, "pads", ()))
    steps_over_none = all(step == 1 for step in _attribute(node, "strides", ()))
    one_by_one = weight is not None and list(weight.dims[2:]) == [1, 1]
    return one_by_one and plain and steps_over_none


def _axes(flow: Flow, node: onnx.NodeProto) -> Sequence[int]:
    """Those of a reduction: an attribute, from opset 18 on a constant input; none: unknown."""
    held = _held(flow, node.input[1]) if len(node.input) > 1 else None
    if held is not None:
        return [int(axis) for axis in numpy_helper.to_array(held).ravel()]
    found: Sequence[int] = _attribute(node, "axes", ())
    return found


def _held(flow: Flow, name: str) -> onnx.TensorProto | None:
    """The weight or constant of that name."""
    graph = flow.model.graph
    constants = (constant_of(n) for n in graph.node if name in n.output)
    return next((each for each in graph.initializer if each.name == name), next(constants, None))


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = (each for each in node.attribute if each.name == name)
    return next(map(helper.get_attribute_value, found), default)
