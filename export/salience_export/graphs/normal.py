"""A file's graph in the one form that the rest of the exporter reads."""

from collections.abc import Sequence

import onnx
from onnx import inliner, version_converter

from salience_export.errors import ExportError
from salience_export.graphs.constants import constant_of, dense
from salience_export.graphs.flow import rename, stand_aside
from salience_export.graphs.shapes import sizes_at
from salience_service.bundle.tensors import IMAGES

OPSET = 17
"""The least opset of a bundle's graphs: the first with LayerNormalization."""

_WIDELY_RUN = 21
"""Opset 22 let many operators take bfloat16, under a version of which ONNX Runtime 1.31's CUDA has
no kernel: MaxPool, InstanceNormalization, Elu, Selu and ThresholdedRelu would run on the CPU."""

_IR = 8
"""The file format version that belongs to opset 17."""


def normal_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with functions inlined, constants held as dense weights, and weights no inputs."""
    result = onnx.ModelProto()
    result.CopyFrom(inlined(model))
    graph = result.graph
    graph.initializer.extend(map(dense, graph.sparse_initializer))
    del graph.sparse_initializer[:]
    kept = [node for node in graph.node if not _hold(graph, node)]
    del graph.node[:]
    graph.node.extend(kept)
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    del graph.input[:]
    graph.input.extend(inputs)
    result.ir_version = max(result.ir_version, _IR)
    return result


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, its local functions written out where they are called."""
    return inliner.inline_local_functions(model) if model.functions else model


def _hold(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Keeps a Constant's tensor among the graph's weights; says whether it did."""
    tensor = constant_of(node)
    if tensor is None:
        return False
    graph.initializer.append(tensor)
    return True


def take_images(model: onnx.ModelProto, sizes: Sequence[int], nhwc: bool) -> onnx.ModelProto:
    """A copy whose one input is `images` [N, C, H, W].

    Args:
        model: of one input.
        sizes: C, H, W.
        nhwc: whether the model itself reads [N, H, W, C]; a Transpose is put in front.
    """
    own = model.graph.input[0].name
    result, moved = stand_aside(model, set() if own == IMAGES and not nhwc else {IMAGES})
    own = moved.get(own, own)
    if nhwc:
        turn = onnx.helper.make_node("Transpose", [IMAGES], [own], perm=[0, 2, 3, 1])
        nodes = [turn, *result.graph.node]
        del result.graph.node[:]
        result.graph.node.extend(nodes)
    else:
        rename(result.graph, {own: IMAGES})
    del result.graph.input[:]
    result.graph.input.append(
        onnx.helper.make_tensor_value_info(IMAGES, onnx.TensorProto.FLOAT, ["N", *sizes])
    )
    del result.graph.value_info[:]
    return result


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that the model uses."""
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, of normal form, at opset 17 or, where it is newer, as it is.

    Raises:
        ExportError: an operator has no translation.
    """
    if opset_of(model) >= OPSET:
        return model
    try:
        raised = version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter's errors share no base but Exception
        raise ExportError(
            f"opset {opset_of(model)} cannot be raised to {OPSET} here;"
            f" export the model again with opset {OPSET} or later"
        ) from error
    return normal_form(raised)  # what was an attribute may be a Constant now


def lower_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, of normal form, at opset 21 where it is newer and says the same there.

    Nodes stay as they are. What opset 21 does not know (an operator, an attribute, a type), and
    pools whose windows it counts otherwise, keep the model as it is.
    """
    if opset_of(model) <= _WIDELY_RUN:
        return model
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    for each in lowered.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = _WIDELY_RUN
    try:
        onnx.checker.check_model(lowered, full_check=True)
    except Exception:  # a ValidationError, or shape inference's own, which share no base
        return model
    return lowered if sizes_at(lowered, 1) == sizes_at(model, 1) else model


def fixed_batch(model: onnx.ModelProto) -> int:
    """The batch that the model's input states, 0 where it is free."""
    held = {tensor.name for tensor in model.graph.initializer}
    images = next(value for value in model.graph.input if value.name not in held)
    return max(0, images.type.tensor_type.shape.dim[0].dim_value)
