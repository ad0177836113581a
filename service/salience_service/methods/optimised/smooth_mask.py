"""Smooth masks: a coarse grid of cells drawn as a mask that cannot have fine detail."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]

STEP = 7
"""Pixels from cell to cell."""
SIGMA = 21
"""Reach of a cell in pixels; the mask is drawn with a margin of as many before the image, and of
as many as whole cells leave behind it, 15 to 21."""
COLDNESS = np.float32(20)
"""1 over the temperature of the smooth maximum: how near it comes to the maximum."""

_RADIUS = 1 + math.ceil(SIGMA / STEP)
_PADDING = 1 + math.ceil(2 * SIGMA / STEP)
_ACROSS = 2 * _RADIUS + 1


@cache
def kernel() -> Array:
    """What a cell gives a pixel, float32 [STEP², cells of the window].

    k(d) = exp(−2 max(d/σ − 1/2, 0)²), with d from pixel to cell: flat to half of σ, then
    a Gaussian. A pixel's window of cells moves on every STEP pixels, so that its place
    among these alone tells its weights.
    """
    cell = SIGMA + STEP * (np.arange(_ACROSS) - _PADDING)
    squares = (np.arange(STEP, dtype=np.float64)[:, None] - cell) ** 2
    distance = np.sqrt(squares[:, None, :, None] + squares[None, :, None, :])
    weights = np.exp(-2 * np.maximum(distance / SIGMA - 0.5, 0) ** 2)
    return np.asarray(weights.reshape(STEP**2, _ACROSS**2), np.float32)


@dataclass(frozen=True)
class SmoothMask:
    """Draws cells as a mask with margins, and takes a gradient to it back to the cells.

    Fong et al. 2019, "Extremal perturbations", as their code, TorchRay, has it: a pixel is
    smax_i z_i of z_i = k(u − u_i) c_i with smax z = Σ z e^{20 z} / Σ e^{20 z}, over a
    window of 9 × 9 cells; those beyond the image are zero.

    Attributes:
        height: rows of the image. width: its columns.
    """

    height: int
    width: int

    @property
    def cells(self) -> tuple[int, int]:
        """The shape of the cells."""
        return math.ceil(self.height / STEP), math.ceil(self.width / STEP)

    def draw(self, cells: Array) -> Array:
        """The mask of cells in [0, 1]: in [0, 1] too, [H + margins, W + margins]."""
        rows = [
            np.einsum("bak,bak->ba", z, raised) / raised.sum(axis=2) for z, raised in _blocks(cells)
        ]
        mask = np.stack(rows).reshape(len(rows), -1, STEP, STEP).swapaxes(1, 2)
        height, width = mask.shape[0] * STEP, mask.shape[2] * STEP
        drawn = mask.reshape(height, width)[: 1 - STEP, : 1 - STEP]
        return np.asarray(np.clip(drawn, 0, 1), np.float32)

    def back(self, cells: Array, mask: Array, gradient: Array) -> Array:
        """The gradient to cells, of that to the mask that was drawn of them.

        With p = softmax(20 z): d smax / d z_i = p_i (1 + 20 (z_i − smax z)).
        """
        weights, given = kernel(), np.zeros(np.add(cells.shape, 2 * _PADDING), np.float32)
        drawn, coming = _by_block(mask), _by_block(gradient)
        into = sliding_window_view(given, (_ACROSS, _ACROSS), writeable=True)
        for row, (z, raised) in enumerate(_blocks(cells)):
            share = coming[row] / raised.sum(axis=2)
            slope = 1 + COLDNESS * (z - drawn[row][..., None])
            slope *= raised
            slope *= weights
            for column, found in enumerate(share[:, None, :] @ slope):
                into[row, column] += found.reshape(_ACROSS, _ACROSS)
        return given[_PADDING:-_PADDING, _PADDING:-_PADDING]

    def shown(self, mask: Array) -> Array:
        """The part of a mask with margins that lies on the image, [H, W]; a view."""
        return mask[SIGMA : SIGMA + self.height, SIGMA : SIGMA + self.width]


def _blocks(cells: Array) -> Iterator[tuple[Array, Array]]:
    """Per row of blocks of STEP × STEP pixels: z and e^{20 z}, [blocks, STEP², window].

    A row at a time stays in the processor's cache: of a mask of 224 × 224 all z are 22 MB.
    """
    weights = kernel()
    padded = np.pad(np.asarray(cells, np.float32), _PADDING)
    for row in sliding_window_view(padded, (_ACROSS, _ACROSS)):
        windows = row.reshape(len(row), -1)
        z = windows[:, None, :] * weights
        yield z, np.exp(COLDNESS * z)


def _by_block(mask: Array) -> Array:
    """A mask with margins as [rows of blocks, blocks, STEP²], what it lacks as zeros."""
    full = np.pad(mask, (0, STEP - 1))
    blocks = full.reshape(full.shape[0] // STEP, STEP, -1, STEP).swapaxes(1, 2)
    return blocks.reshape(blocks.shape[0], blocks.shape[1], STEP**2)
