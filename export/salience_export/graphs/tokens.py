"""Tokens of a transformer as a grid over the image, and which of them to explain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from salience_export.errors import ExportError
from salience_export.graphs.flow import Flow
from salience_export.source import IMAGES, SourceTap
from salience_service.bundle.manifest import TokenLayout


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


def last_tokens(flow: Flow, sums: Sequence[str]) -> SourceTap | None:
    """The last sum of a transformer's blocks whose patches reach the logits, as it is normalised.

    Behind the last attention only a class token reaches them. Taken is the LayerNorm of the sum,
    where it has one: the first of the last block or, without a class token, the one behind all.

    Args:
        flow: the network.
        sums: that end its blocks and lie on every path to the logits, in computation order.

    Raises:
        ExportError: there are sums, but no such tap.
    """
    for name in reversed(sums):
        tap = tap_of_tokens(flow, name, name)
        if tap and (tap.layout is TokenLayout.TOKENS or is_attended(flow, name)):
            normed = _normalised(flow, name)
            return replace(tap, name=normed, tensor=normed)
    if sums:
        raise ExportError(
            f"no tap can be chosen behind the attention: no sum of its blocks, as {sums[-1]!r}, is "
            "[N, T, C] with T patches of the image that reach the logits; name taps"
        )
    return None


def is_attended(flow: Flow, name: str) -> bool:
    """Whether attention follows: a product of two tensors that are both made from this one."""
    made = flow.after([name])
    return any(node.op_type == "MatMul" and made.issuperset(node.input) for node in flow.nodes)


def _normalised(flow: Flow, name: str) -> str:
    norms = (node for node in flow.consumers[name] if node.op_type == "LayerNormalization")
    return next((node.output[0] for node in norms if node.input[0] == name), name)
