"""RISE's masks: coarse random grids, upsampled and shifted; and sums over them, without them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import sampling_matrix
from salience_service.methods.asking import Scores
from salience_service.methods.probe import FloatMap

BLOCK = 64
"""Masks drawn from one generator: enough that seeding it costs little per mask."""
MOST_KEPT_CELLS = 32
"""Cells a side up to which blocks are kept for whoever asks next: 4 MiB of them in all."""


class Draws(NamedTuple):
    """Random grids, float32 [n, s, s] of zeros and ones, and their shifts down and right [n]."""

    grids: FloatMap
    down: NDArray[np.int64]
    right: NDArray[np.int64]


@dataclass(frozen=True)
class RandomGrids:
    """A series of masks, float32 [count, height, width] in [0, 1], made as they are cut.

    Mask i depends on the seed, i, and the sizes alone. A grid of s × s cells is upsampled
    to (s + 1) cells a side, a cell being ⌈H/s⌉ × ⌈W/s⌉ pixels, and H × W is cropped out
    of it at a random place less than a cell from its corner (Petsiuk et al. 2018, §3.2).

    Attributes:
        count: masks. cells: s, at most the shorter side.
        probability: that a cell shows the image.
    """

    count: int
    cells: int
    probability: float
    seed: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """[count, height, width]."""
        return (self.count, self.height, self.width)

    def __getitem__(self, part: slice) -> FloatMap:
        """Masks start to stop, float32 [n, height, width]."""
        rows, columns = _crops(self.height, self.cells), _crops(self.width, self.cells)
        draws = self.draws(part.start, part.stop)
        masks = np.empty((len(draws.grids), self.height, self.width), np.float32)
        for mask, grid, down, right in zip(masks, *draws, strict=True):
            np.matmul(rows[down] @ grid, columns[right].T, out=mask)
        return masks

    def draws(self, start: int, stop: int) -> Draws:
        """What masks start to stop are made of."""
        first = start // BLOCK
        behind = max(-(-stop // BLOCK), first + 1)  # Even where no mask is asked for.
        drawn = _kept_block if self.cells <= MOST_KEPT_CELLS else _block
        blocks = [drawn(self, block) for block in range(first, behind)]
        own = slice(start - first * BLOCK, stop - first * BLOCK)
        return Draws(*(np.concatenate(parts)[own] for parts in zip(*blocks, strict=True)))


class MaskSum:
    """Σ_i p_i M_i over the masks of a series in order, in float64.

    A mask is R_down · grid · C_rightᵀ, so that the sum over all of them is made of the sums
    of grids of each shift: as many numbers as the map has, whatever the count, and a
    row adds s² of them where its mask would add H·W.
    """

    def __init__(self, masks: RandomGrids) -> None:
        self.done = 0
        self._masks = masks
        self._rows = _crops(masks.height, masks.cells)
        self._columns = _crops(masks.width, masks.cells)
        cells = masks.cells
        self._grids = np.zeros((len(self._rows), len(self._columns), cells, cells))

    def add(self, scores: Scores) -> None:
        """Adds the masks from `done` on, weighed by their scores [n]."""
        for start in range(0, len(scores), BLOCK):
            weights = scores[start : start + BLOCK]
            grids, down, right = self._masks.draws(self.done, self.done + len(weights))
            np.add.at(self._grids, (down, right), weights[:, None, None] * grids)
            self.done += len(weights)

    def copy(self) -> "MaskSum":
        """Another that goes on by itself."""
        other = MaskSum(self._masks)
        other.done, other._grids = self.done, self._grids.copy()
        return other

    def total(self) -> NDArray[np.float64]:
        """The sum so far, float64 [H, W]."""
        shifts_down, shifts_right, cells, _ = self._grids.shape
        grids = self._grids.transpose(0, 2, 1, 3).reshape(shifts_down * cells, -1)
        rows = np.stack(self._rows).transpose(0, 2, 1).reshape(shifts_down * cells, -1)
        columns = np.stack(self._columns).transpose(0, 2, 1).reshape(shifts_right * cells, -1)
        total: NDArray[np.float64] = rows.T.astype(np.float64) @ grids @ columns
        return total


def _block(masks: RandomGrids, block: int) -> Draws:
    random = np.random.default_rng((masks.seed, block))
    shown = random.random((BLOCK, masks.cells, masks.cells), np.float32) < masks.probability
    down = random.integers(0, -(-masks.height // masks.cells), BLOCK)
    right = random.integers(0, -(-masks.width // masks.cells), BLOCK)
    return Draws(shown.astype(np.float32), down, right)


_kept_block = lru_cache(maxsize=16)(_block)
"""Every target of a request asks for the same block at about the same time."""


@lru_cache(maxsize=16)
def _crops(size: int, cells: int) -> tuple[FloatMap, ...]:
    """For each shift, what takes a grid's axis to that crop of the upsampled one: [size, cells].

    Upsampling is bilinear, and mirrored beyond the outer samples as the authors' code has
    it (scikit-image's `resize`, order 1, mode "reflect"); the paper leaves the border open.
    """
    cell = -(-size // cells)
    positions = (np.arange((cells + 1) * cell) + 0.5) * cells / ((cells + 1) * cell) - 0.5
    mirrored = cells - 1 - np.abs(cells - 1 - np.abs(positions))
    matrix = sampling_matrix(mirrored, cells)
    matrix.setflags(write=False)
    return tuple(matrix[shift : shift + size] for shift in range(cell))
