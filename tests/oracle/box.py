"""The box of a map's largest part, slowly: component by component, in float64."""

import numpy as np
from scipy.ndimage import label

from tests.oracle.geometry import axis_to_original, seen_pixels


def original_axis(samples: int, original: int, resized: int, crop: int, offset: int) -> np.ndarray:
    """[original, samples]: what a map's axis comes to in the original, sample by sample."""
    columns = [
        axis_to_original(unit.tolist(), original, resized, crop, offset) for unit in np.eye(samples)
    ]
    return np.array(columns).T


def largest_box(saliency, rows: tuple, columns: tuple, threshold=None):
    """(left, top, width, height) in original pixels.

    Args:
        saliency: [h, w], not negative where negative values do not count.
        rows: (original, resized, crop, offset) of that axis; columns likewise.
        threshold: share of the way from the least to the greatest value; None: the mean.
    """
    height, width = saliency.shape
    values = (
        original_axis(height, *rows) @ saliency.astype(float) @ original_axis(width, *columns).T
    )
    seen = np.outer(seen_pixels(*rows), seen_pixels(*columns))
    low, high = values[seen].min(), values[seen].max()
    level = values[seen].mean() if threshold is None else low + threshold * (high - low)
    parts, count = label((values > level) & seen, structure=np.ones((3, 3)))
    places = [np.argwhere(parts == number) for number in range(1, count + 1)]
    best = max(places, key=len)
    (top, left), (bottom, right) = best.min(axis=0), best.max(axis=0)
    return left, top, right - left + 1, bottom - top + 1
