"""Windows that slide over the input: a series of masks that hide one window each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import InvalidRequest
from salience_service.methods.asking import Scores
from salience_service.methods.probe import FloatMap

MOST_WINDOWS = 20000


@dataclass(frozen=True)
class Windows:
    """Masks float32 [N, height, width]: 0 inside window n, 1 outside; made as they are cut.

    Windows begin at every multiple of the stride until one reaches the far edge, where it
    is cut off; they are counted row by row.

    Attributes:
        height: rows of the input. width: its columns.
        window: side of a window, in pixels. stride: pixels from one to the next.

    Raises:
        InvalidRequest: a window larger than the input, gaps between windows, or too many.
    """

    height: int
    width: int
    window: int
    stride: int

    def __post_init__(self) -> None:
        side = min(self.height, self.width)
        if self.window > side:
            raise InvalidRequest(
                f"option window is {self.window}: this model's input is {self.height}×{self.width} "
                f"pixels; give at most {side}",
                field="window",
            )
        if self.stride > self.window:
            raise InvalidRequest(
                f"option stride is {self.stride}: windows of {self.window} pixels would leave gaps "
                f"between them; give at most {self.window}",
                field="stride",
            )
        if self.shape[0] > MOST_WINDOWS:
            raise InvalidRequest(
                f"windows of {self.window} pixels with a stride of {self.stride} are "
                f"{self.shape[0]}: at most {MOST_WINDOWS} are allowed; give a larger stride",
                field="stride",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """[N, height, width]."""
        down, right = self._counts
        return (down * right, self.height, self.width)

    def __getitem__(self, part: slice) -> FloatMap:
        """Masks start to stop, float32 [n, height, width]."""
        masks = np.ones((part.stop - part.start, self.height, self.width), np.float32)
        for mask, number in zip(masks, range(part.start, part.stop), strict=True):
            down, right = divmod(number, self._counts[1])
            top, left = down * self.stride, right * self.stride
            mask[top : top + self.window, left : left + self.window] = 0
        return masks

    def mean(self, differences: Scores) -> NDArray[np.float64]:
        """Per pixel the mean of the differences of all windows over it, float64 [height, width].

        Args:
            differences: float64 [n] of the first n windows, n ≥ 1; pixels under none of
                them are zero.
        """
        counts = self._counts
        known = np.zeros(counts)
        known.flat[: len(differences)] = 1
        grid = np.zeros(counts)
        grid.flat[: len(differences)] = differences
        rows, columns = self._inside(counts[0], self.height), self._inside(counts[1], self.width)
        covered: NDArray[np.float64] = rows.T @ known @ columns
        total: NDArray[np.float64] = rows.T @ grid @ columns
        return total / np.maximum(covered, 1)

    @property
    def _counts(self) -> tuple[int, int]:
        """Windows down and across."""
        down = -(-(self.height - self.window) // self.stride) + 1
        return down, -(-(self.width - self.window) // self.stride) + 1

    def _inside(self, count: int, size: int) -> NDArray[np.float64]:
        """1 where a pixel of an axis lies in a window, float64 [count, size]."""
        starts = np.arange(count)[:, None] * self.stride
        pixels = np.arange(size)
        return ((pixels >= starts) & (pixels < starts + self.window)).astype(np.float64)
