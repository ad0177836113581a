"""Bilinear interpolation as a matrix, the one definition of `up` that graphs and maps share."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=256)
def interpolation_matrix(out_size: int, in_size: int) -> NDArray[np.float32]:
    """Rows that resample `in_size` samples to `out_size`: bilinear, align_corners false.

    A map [h, w] becomes [H, W] as `matrix(H, h) @ map @ matrix(W, w).T`, equal to
    torch's `interpolate(mode="bilinear", align_corners=False)` to float rounding.

    Returns:
        float32 [out_size, in_size], rows summing to 1, read-only.
    """
    positions = (np.arange(out_size, dtype=np.float64) + 0.5) * (in_size / out_size) - 0.5
    return sampling_matrix(positions, in_size)


def sampling_matrix(positions: NDArray[np.floating], in_size: int) -> NDArray[np.float32]:
    """Rows that read `in_size` samples at the given positions, linearly, edges held.

    Args:
        positions: [n] places in samples; sample i lies at i.
        in_size: how many samples there are, ≥ 1.

    Returns:
        float32 [n, in_size], rows summing to 1, read-only.
    """
    held = np.clip(positions, 0, in_size - 1)
    low = np.floor(held).astype(np.int64)
    high = np.minimum(low + 1, in_size - 1)
    share = held - low
    matrix = np.zeros((len(positions), in_size))
    rows = np.arange(len(positions))
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, high), share)
    result = matrix.astype(np.float32)
    result.setflags(write=False)
    return result


def upsample(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resamples [..., h, w] to [..., height, width], bilinear, align_corners false."""
    rows = interpolation_matrix(height, maps.shape[-2])
    columns = interpolation_matrix(width, maps.shape[-1])
    return np.asarray(rows @ maps @ columns.T, np.float32)


def upsample_back(gradient: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The gradient to maps [..., height, width], from that to what `upsample` made of them."""
    rows = interpolation_matrix(gradient.shape[-2], height)
    columns = interpolation_matrix(gradient.shape[-1], width)
    return np.asarray(rows.T @ gradient @ columns, np.float32)


FLAT = 1e-6
"""A map is flat where its range is at most this share of its greatest absolute value:
float32 interpolation of a constant already varies by about 4e-7 of it."""


def is_flat(minimum: float, maximum: float) -> bool:
    """Whether a map with these extremes says nothing."""
    return not (maximum - minimum > FLAT * max(abs(minimum), abs(maximum)))


def unit_range(image_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """n(·): min–max to [0, 1] over the last two axes; a flat map becomes zeros (Opti-CAM §3)."""
    low = image_map.min(axis=(-2, -1), keepdims=True)
    high = image_map.max(axis=(-2, -1), keepdims=True)
    span = high - low
    flat = ~(span > FLAT * np.maximum(np.abs(low), np.abs(high)))
    scaled: NDArray[np.float32] = np.where(flat, 0, (image_map - low) / np.where(flat, 1, span))
    return scaled.astype(np.float32)


def row_masks(
    maps: NDArray[np.float32],
    normalise: NDArray[np.bool_],
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """The masks that the masked graph makes of maps: scale · n(up(map)) + shift.

    Args:
        maps: [n, h, w].
        normalise: [n], where n is min–max; else nothing.
        scale: [n].
        shift: [n].
        size: of the masks.

    Returns:
        float32 [n, *size].
    """
    up = upsample(maps, *size)
    shown = np.where(normalise[:, None, None], unit_range(up), up)
    return np.asarray(scale[:, None, None] * shown + shift[:, None, None], np.float32)
