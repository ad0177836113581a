"""Rows as the masked graph makes them, by numpy: what it is held against."""

import numpy as np

from salience_export.source import FloatArray
from salience_export.specimens import MaskRows
from salience_service.interpolation import unit_range, upsample


def compose(image: FloatArray, rows: MaskRows) -> FloatArray:
    """The rows [n, C, H, W] that the masked graph makes of an image [1, C, H, W], fill zero."""
    up = upsample(rows.maps, image.shape[2], image.shape[3])
    shown = np.where(rows.normalise[:, None, None], unit_range(up), up)
    mask = rows.scale[:, None, None] * shown + rows.shift[:, None, None]
    return np.asarray(mask[:, None] * image, np.float32)
