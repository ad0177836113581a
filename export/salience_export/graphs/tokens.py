"""Tokens of a transformer as a grid over the image."""

from dataclasses import dataclass

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
