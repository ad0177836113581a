"""Which axis of a tensor counts channels, followed from where operators put it."""

import math
from collections.abc import Iterable, Mapping

import onnx

from salience_export.graphs.shapes import Shape
from salience_service.bundle.tensors import IMAGES

_SECOND = frozenset(
    {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "LRN"}
    | {"GroupNormalization", "DepthToSpace", "SpaceToDepth", "MaxPool", "AveragePool", "LpPool"}
    | {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}
)
"""Operators that put out [N, C, …], as ONNX defines them."""

_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def channel_axes(nodes: Iterable[onnx.NodeProto], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The axis of channels of each tensor, from 0; tensors that do not tell it are missing.

    A Transpose moves it, a reshape keeps it where it mixes no other axis in, and other
    operators leave it where it is.

    Args:
        nodes: in the order they are computed, from `images` [N, C, H, W].
        shapes: of the tensors.
    """
    found = {IMAGES: 1}
    for node in nodes:
        axis = 1 if node.op_type in _SECOND else _carried(node, found, shapes)
        if axis is not None:
            found |= dict.fromkeys(node.output, axis)
    return found


def _carried(
    node: onnx.NodeProto, axes: Mapping[str, int], shapes: Mapping[str, Shape]
) -> int | None:
    """Where the node puts the axis of channels of what it is given."""
    given = [name for name in node.input if name in axes and name in shapes]
    made = shapes.get(node.output[0])
    if not given or made is None or node.op_type == "Einsum":
        return None
    if node.op_type == "Transpose":
        return _permutation(node, made).index(axes[given[0]])
    if node.op_type in _RESHAPING:
        return _reshaped(shapes[given[0]], made, axes[given[0]])
    alike = (name for name in given if len(shapes[name].dimensions) == len(made.dimensions))
    return next((axes[name] for name in alike), None)


def _permutation(node: onnx.NodeProto, made: Shape) -> list[int]:
    stated = next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
    return stated or list(range(len(made.dimensions)))[::-1]


def _reshaped(before: Shape, after: Shape, axis: int) -> int | None:
    """The axis that is as large, and has as many numbers behind it."""
    kept = before.dimensions[axis], _behind(before, axis)
    places = range(len(after.dimensions))
    return next((at for at in places if (after.dimensions[at], _behind(after, at)) == kept), None)


def _behind(shape: Shape, axis: int) -> int:
    return math.prod(size or 0 for size in shape.dimensions[axis + 1 :])
