"""Tokens of a transformer as a grid over the image, and which of them to explain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx

from salience_export.graphs.flow import Flow
from salience_export.source import SourceTap
from salience_service.bundle.manifest import TokenLayout
from salience_service.bundle.tensors import IMAGES

_PRODUCTS = frozenset({"MatMul", "Einsum", "Attention"})
"""Operators that attention is written with; the last from opset 23 on."""


@dataclass(frozen=True)
class Grid:
    """How tokens lie: patches row by row, perhaps after a class token."""

    layout: TokenLayout
    height: int
    width: int


def grid_of(tokens: int, height: int, width: int) -> Grid | None:
    """How tokens lie on an image, if square patches cut it into as many.

    Args:
        tokens: of one image.
        height: rows of the image.
        width: its columns.

    Returns:
        The grid; None where neither as many patches nor one fewer cut the image.
    """
    patches = [side for side in range(1, min(height, width)) if not (height % side or width % side)]
    sizes = {
        (height // side) * (width // side): (height // side, width // side) for side in patches
    }
    for layout, class_tokens in ((TokenLayout.TOKENS, 0), (TokenLayout.CLASS_AND_TOKENS, 1)):
        if size := sizes.get(tokens - class_tokens):
            return Grid(layout, *size)
    return None


def tap_of_tokens(flow: Flow, tensor: str, name: str) -> SourceTap | None:
    """The tap of this name that is the tensor, if it is float32 [N, T, C] and T a grid."""
    shape, (_, *size) = flow.shapes[tensor], flow.shapes[IMAGES].per_image
    if not shape.is_tokens:
        return None
    tokens, channels = shape.per_image
    grid = grid_of(tokens, *size)
    if grid is None:
        return None
    return SourceTap(name, tensor, channels, grid.height, grid.width, grid.layout)


def last_tokens(flow: Flow, sums: Sequence[str], over: SourceTap | None) -> SourceTap | None:
    """The last sum of a transformer's blocks whose patches reach the logits, as it is normalised.

    With a class token that is the last sum that attention follows, since behind it the class
    token alone may reach them. Taken is the LayerNormalization of the sum, where it has one.

    Args:
        flow: the network.
        sums: that end its blocks and lie on every path to the logits, in computation order.
        over: the map that its tokens are made from, as they are or merged two by two; None: the
            image.

    Returns:
        The tap; None where no sum is one.
    """
    patches = _around_attention(flow, over.tensor if over else IMAGES).intersection(sums)
    taps = [tap for name in sums if name in patches and (tap := tap_of_tokens(flow, name, name))]
    for tap in reversed(_lying_over(taps, over) if over else taps):
        if tap.layout is TokenLayout.TOKENS or is_attended(flow, tap.tensor):
            normed = _normalised(flow, tap.tensor)
            return replace(tap, name=normed, tensor=normed)
    return None


def is_attended(flow: Flow, name: str) -> bool:
    """Whether attention follows: a product of several tensors that are made from this one."""
    return bool(_products(flow, name))


def _products(flow: Flow, name: str) -> list[onnx.NodeProto]:
    made = flow.after([name])
    return [
        node
        for node in flow.nodes
        if node.op_type in _PRODUCTS and sum(each in made for each in node.input) > 1
    ]


def _around_attention(flow: Flow, name: str) -> set[str]:
    """What is made from the tensor by a path around all attention; a decoder's queries are not."""
    products = {output for node in _products(flow, name) for output in node.output}
    return flow.after([name], products)


def _lying_over(taps: Sequence[SourceTap], over: SourceTap) -> list[SourceTap]:
    """Those of the map's grid, or of that of taps before, each two by two patches merged."""
    sizes: set[tuple[float, float]] = {(over.height, over.width)}
    found = []
    for tap in taps:
        if (tap.height, tap.width) in sizes:
            found.append(tap)
            sizes.add((tap.height / 2, tap.width / 2))
    return found


def _normalised(flow: Flow, name: str) -> str:
    norms = (node for node in flow.consumers[name] if node.op_type == "LayerNormalization")
    return next((node.output[0] for node in norms if node.input[0] == name), name)
