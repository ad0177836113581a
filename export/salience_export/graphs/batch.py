"""Batches of any size: shapes that a file states for one batch, or computes, are made free."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from salience_export.graphs.flow import Flow, names_of, unused
from salience_export.graphs.shapes import Shape, sizes_at


def settle_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which reshapes state their result instead of computing it from other tensors.

    Networks traced with a free batch compute `Reshape`'s target from the shape of their
    input. In a tail that input is not there; and the numbers are known but for the batch.
    """
    flow = Flow(model)
    held = {tensor.name for tensor in model.graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        shape = flow.shapes.get(node.output[0])
        if node.op_type != "Reshape" or node.input[1] in held or shape is None:
            continue
        if shape.dimensions.count(None) == 1:
            _state(result, node, [-1 if size is None else size for size in shape.dimensions])
    return result


def free_batch(model: onnx.ModelProto, batch: int) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy whose reshapes hold for any batch, and the outputs of those changed.

    Args:
        model: its input's first dimension was stated as `batch`.
        batch: the size that was stated, ≥ 1.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    changed: list[str] = []
    made = {name: sizes for name, (_, sizes) in sizes_at(model, batch).items()}
    while (at := _stuck(result, batch, made)) is not None:
        node, target = at
        _state(result, node, target)
        changed.append(node.output[0])
    return result, tuple(changed)


def _stuck(
    model: onnx.ModelProto, batch: int, made: Mapping[str, Sequence[int]]
) -> tuple[onnx.NodeProto, list[int]] | None:
    """The first reshape that states the batch of a row tensor, and what it should state."""
    flow = Flow(model)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in flow.nodes:
        if node.op_type != "Reshape" or node.input[0] not in flow.rows:
            continue
        if node.input[1] not in held or (taken := flow.shapes.get(node.input[0])) is None:
            continue
        stated = onnx.numpy_helper.to_array(held[node.input[1]]).tolist()
        target = _freed(stated, taken, batch, made.get(node.output[0], ()))
        if target is not None and target != stated:
            return node, target
    return None


def _freed(
    stated: Sequence[int], taken: Shape, batch: int, made: Sequence[int]
) -> list[int] | None:
    """The target with its batch left open, or None where it holds for any batch already.

    Args:
        stated: the target.
        taken: the shape of what is reshaped.
        batch: the size that was stated.
        made: the sizes that the target meant at that batch; none where unknown.
    """
    if not stated or stated[0] <= 0 or stated[0] % batch or None not in taken.dimensions:
        return None
    if -1 not in stated:
        return [-1, *stated[1:]]
    if stated[0] == batch and taken.is_row:
        return [0, *stated[1:]]
    return [-1, *made[1:]] if made else None


def _state(model: onnx.ModelProto, node: onnx.NodeProto, target: Sequence[int]) -> None:
    """Gives the reshape (part of the model, changed in place) its own constant target."""
    name = unused(f"{node.output[0]}/shape", names_of(model.graph))
    constant = onnx.numpy_helper.from_array(np.array(target, np.int64), name)
    model.graph.initializer.append(constant)
    node.input[1] = name
    kept = [each for each in node.attribute if each.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend(kept)
