"""Whether a tap goes to the logits by global average pooling and one linear layer alone."""

import math

import onnx

from salience_export.graphs.flow import Flow
from salience_export.source import LOGITS, SourceTap
from salience_service.bundle.manifest import TokenLayout

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
        pools_all = math.prod(after) == (before[0] if len(before) == 3 else before[-1])
        return "pool" if pools_all and not pooled else None
    if node.op_type in _LINEAR:
        mixes_channels = node.op_type != "Conv" or _is_one_by_one(flow, node)
        return "linear" if mixes_channels and node.input[0] == name else None
    if node.op_type == "Add":
        return "add"
    return "arrange" if node.op_type in _ARRANGES and pooled else None


def _is_one_by_one(flow: Flow, node: onnx.NodeProto) -> bool:
    held = {tensor.name: tensor for tensor in flow.model.graph.initializer}
    weight = held.get(node.input[1])
    ungrouped = all(a.i == 1 for a in node.attribute if a.name == "group")
    return weight is not None and list(weight.dims[2:]) == [1, 1] and ungrouped
