"""Specimens: the images and masks that a model is tried on, always the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_export.source import FloatArray
from salience_service.bundle.manifest import InputContract, Tap
from salience_service.interpolation import upsample

_NOISE_SEED, _SMOOTH_SEED, _MASK_SEED, _COTANGENT_SEED = 1, 2, 2, 3
_GRAIN = 0.25
_CELLS = 5
"""A smooth image has 5×5 random intensities: a few soft blobs, as in a photograph."""


@dataclass(frozen=True)
class MaskRows:
    """Masks of rows of one image: scale · n(up(map)) + shift, with n min–max where `normalise`.

    Attributes:
        maps: float32 [n, h, w].
        normalise: bool [n].
        scale: float32 [n].
        shift: float32 [n].
    """

    maps: FloatArray
    normalise: NDArray[np.bool_]
    scale: FloatArray
    shift: FloatArray


def noise_images(contract: InputContract, count: int) -> FloatArray:
    """Images [count, C, H, W] of independent uniform intensities, in the model's numbers."""
    shape = (contract.channels, count, contract.height, contract.width)
    noise = np.random.default_rng(_NOISE_SEED).uniform(0, 1, shape)
    return np.ascontiguousarray(contract.normalise(noise).swapaxes(0, 1))


def smooth_images(contract: InputContract, count: int) -> FloatArray:
    """Images [count, C, H, W] of low spatial frequency, in the model's numbers."""
    shape = (count, contract.channels, _CELLS, _CELLS)
    cells = np.random.default_rng(_SMOOTH_SEED).uniform(0, 1, shape)
    blobs = upsample(cells.astype(np.float32), contract.height, contract.width)
    return np.ascontiguousarray(contract.normalise(blobs.swapaxes(0, 1)).swapaxes(0, 1))


def grainy_images(contract: InputContract, count: int) -> FloatArray:
    """Images [count, C, H, W] of a few soft blobs under grain, in the model's numbers.

    Gradients are taken of these. Without grain, neighbouring pixels are equal but for
    rounding, and which of them a MaxPool passes its gradient to is a matter of chance:
    noise of 1e-6 on smooth images turned SqueezeNet's gradient by 0.4 of its norm, on
    grainy ones by 0.005.
    """
    smooth, noise = smooth_images(contract, count), noise_images(contract, count)
    return np.asarray((1 - _GRAIN) * smooth + _GRAIN * noise, np.float32)


def mask_rows(tap: Tap) -> MaskRows:
    """Rows that go every way through the masked graph, at the tap's resolution.

    Min–max normalised, the same inverted, as it is and inverted (a map within [0, 1]),
    and a flat map, which normalises to zeros.
    """
    maps = np.random.default_rng(_MASK_SEED).uniform(0, 1, (5, tap.height, tap.width))
    maps[0] = 6 * maps[0] - 2
    maps[1] = maps[0]
    maps[4] = 0.7
    return MaskRows(
        maps=maps.astype(np.float32),
        normalise=np.array([True, True, False, False, True]),
        scale=np.array([1, -1, 1, -1, 1], np.float32),
        shift=np.array([0, 1, 0, 1, 0], np.float32),
    )


def cotangents(count: int, classes: int) -> FloatArray:
    """Cotangents [count, classes] that weigh every class, each row another way."""
    drawn = np.random.default_rng(_COTANGENT_SEED).normal(size=(count, classes))
    return drawn.astype(np.float32)
