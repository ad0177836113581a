"""Perturbation: an image at levels from hidden to whole, of which a mask picks one a pixel."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.probe import Base

Array = NDArray[np.float32]
Kind = Literal["blur", "fade"]

LEVELS = 8
GREATEST_BLUR = 20.0
"""σ of the first level's Gaussian, in pixels."""


@dataclass(frozen=True, eq=False)
class Perturbation:
    """An image at LEVELS levels, evenly spaced in the mask's value from 0 to 1.

    Attributes:
        levels: float32 [LEVELS, C, H, W], the last the image itself.
    """

    levels: Array

    def apply(self, mask: Array) -> Array:
        """The image [C, H, W] under a mask [H, W] in [0, 1], linear between two levels."""
        low, share = self._between(mask)
        first, second = self._around(low)
        return (1 - share) * first + share * second

    def back(self, mask: Array, gradient: Array) -> Array:
        """The gradient to the mask [H, W], of that to the image which it made [C, H, W]."""
        first, second = self._around(self._between(mask)[0])
        slope: Array = ((second - first) * gradient).sum(axis=0) * np.float32(LEVELS - 1)
        return slope

    def _between(self, mask: Array) -> tuple[NDArray[np.intp], Array]:
        """The level below each pixel, and how far it is from there to the next, [H, W]."""
        place = mask * np.float32(LEVELS - 1)
        low = np.floor(place)
        return low.astype(np.intp), place - low

    def _around(self, low: NDArray[np.intp]) -> tuple[Array, Array]:
        """Each pixel of the level below and of the one above it, [C, H, W]."""
        above = np.minimum(low + 1, LEVELS - 1)
        taken = (
            np.take_along_axis(self.levels, level[None, None], axis=0)[0] for level in (low, above)
        )
        return next(taken), next(taken)


def perturbation(base: Base, kind: Kind) -> Perturbation:
    """The levels of an image: blurred over its fill, or faded to it."""
    difference = base.image - base.fill
    levels = np.empty((LEVELS, *difference.shape), np.float32)
    for level, share in zip(levels, np.linspace(0, 1, LEVELS), strict=True):
        match kind:
            case "blur":
                hidden = blurred(difference, GREATEST_BLUR * (1 - share))
            case "fade":
                hidden = np.float32(share) * difference
        np.add(base.fill, hidden, out=level)
    return Perturbation(levels)


def blurred(image: Array, sigma: float) -> Array:
    """[C, H, W] under a Gaussian of σ pixels, cut at 4σ; beyond the border lie zeros."""
    rows, columns = (gaussian(size, sigma) for size in image.shape[1:])
    return np.asarray(rows @ image @ columns.T, np.float32)


def gaussian(size: int, sigma: float) -> NDArray[np.float64]:
    """The matrix [size, size] that blurs `size` samples between zeros."""
    if sigma == 0:
        return np.eye(size)
    reach = math.ceil(4 * sigma)
    whole = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).sum()
    apart = np.arange(size)[:, None] - np.arange(size)
    return np.where(np.abs(apart) <= reach, np.exp(-0.5 * (apart / sigma) ** 2) / whole, 0)
