"""Maps over the image: grids of its proportions, channels before or behind them."""

from salience_export.graphs.flow import Flow
from salience_service.bundle.tensors import IMAGES


def is_reduced_image(flow: Flow, height: int, width: int) -> bool:
    """Whether a grid is the image at one stride, each side rounded up or down."""
    _, rows, columns = flow.shapes[IMAGES].per_image
    return abs(height * columns - width * rows) < rows + columns


def is_over_image(flow: Flow, tensor: str) -> bool:
    """Whether it is a map, channels first, and no line that a mean or sum of a map leaves."""
    shape = flow.shapes[tensor]
    if not shape.is_map or has_channels_last(flow, tensor):
        return False
    is_line = 1 in shape.per_image[1:]
    return not (is_line and flow.producers[tensor].op_type.startswith("Reduce"))


def has_channels_last(flow: Flow, tensor: str) -> bool:
    """Whether a tensor of four dimensions is [N, h, w, C], or windows [N, n, pixels, C].

    Operators tell it, or else proportions: where they fit [N, C, h, w] as well, it is
    that, as ONNX means it.
    """
    axis = flow.channels.get(tensor)
    if axis is not None:
        return axis == 3
    first, second, third = flow.shapes[tensor].per_image
    return is_reduced_image(flow, first, second) and not is_reduced_image(flow, second, third)
