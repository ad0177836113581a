"""Rows as the masked graph makes them, by numpy: what it is held against."""

import numpy as np

from salience_export.source import FloatArray
from salience_export.specimens import MaskRows
from salience_service.interpolation import row_masks


def compose(image: FloatArray, rows: MaskRows) -> FloatArray:
    """The rows [n, C, H, W] that the masked graph makes of an image [1, C, H, W], fill zero."""
    return np.asarray(pixel_masks(image, rows)[:, None] * image, np.float32)


def pixel_masks(image: FloatArray, rows: MaskRows) -> FloatArray:
    """The masks [n, H, W] of these rows."""
    size = (image.shape[2], image.shape[3])
    return row_masks(rows.maps, rows.normalise, rows.scale, rows.shift, size)
