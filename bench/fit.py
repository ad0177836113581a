"""A straight line through points, by least squares, and how well it fits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """y = slope · x + start.

    Attributes:
        r_squared: share of the variance of y that the line explains, at most 1.
    """

    slope: float
    start: float
    r_squared: float

    @classmethod
    def through(cls, xs: Sequence[float], ys: Sequence[float]) -> "Line":
        """The line nearest to at least two points of different x.

        Raises:
            ValueError: fewer, or all y alike: there is no variance to explain.
        """
        x, y = np.asarray(xs, float), np.asarray(ys, float)
        spread = ((y - y.mean()) ** 2).sum()
        if len(np.unique(x)) < 2 or spread == 0:
            raise ValueError("a line needs two points of different x and different y")
        slope, start = np.polyfit(x, y, 1)
        missed = ((y - slope * x - start) ** 2).sum()
        return cls(float(slope), float(start), float(1 - missed / spread))
