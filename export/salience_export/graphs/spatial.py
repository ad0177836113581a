"""Maps over the image: grids of its proportions, channels before or behind them."""

import onnx

from salience_export.graphs.flow import Flow
from salience_export.source import IMAGES

_MOVES_CHANNELS_LAST = [0, 2, 3, 1]
"""A Transpose's `perm` from [N, C, H, W] to [N, H, W, C]."""


def is_reduced_image(flow: Flow, height: int, width: int) -> bool:
    """Whether a grid is the image at one stride, each side rounded up or down."""
    _, rows, columns = flow.shapes[IMAGES].per_image
    return abs(height * columns - width * rows) < rows + columns


def is_over_image(flow: Flow, tensor: str) -> bool:
    """Whether it is a map, channels first, and no line of pixels across an image that is none."""
    shape = flow.shapes[tensor]
    if not shape.is_map or has_channels_last(flow, tensor):
        return False
    _, height, width = shape.per_image
    return 1 not in (height, width) or is_reduced_image(flow, height, width)


def has_channels_last(flow: Flow, tensor: str) -> bool:
    """Whether a tensor of four dimensions is [N, h, w, C], as its proportions tell.

    Where they fit [N, C, h, w] as well, it is that, as ONNX means it, unless a Transpose
    moved its channels.
    """
    first, second, third = flow.shapes[tensor].per_image
    if not is_reduced_image(flow, first, second):
        return False
    return not is_reduced_image(flow, second, third) or _were_moved_last(flow, tensor)


def _were_moved_last(flow: Flow, tensor: str) -> bool:
    """What the nearest Transpose says that tensors of one shape lead back to."""
    shape = flow.shapes[tensor]
    while (node := flow.producers.get(tensor)) is not None:
        if node.op_type == "Transpose":
            return _permutation(node) == _MOVES_CHANNELS_LAST
        tensor = next((name for name in node.input if flow.shapes.get(name) == shape), "")
    return False


def _permutation(node: onnx.NodeProto) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
