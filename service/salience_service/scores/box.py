"""The box around what a map points at, in pixels of the image that was sent."""

import math

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import InvalidRequest
from salience_service.image.placement import Placement, Rectangle
from salience_service.interpolation import is_flat
from salience_service.methods.probe import Outcome
from salience_service.request import BoxOrder


def check_box(wanted: BoxOrder) -> None:
    """Refuses a threshold that no map can have (InvalidRequest), before any work."""
    threshold = wanted.threshold
    if threshold is not None and not 0 <= threshold < 1:
        raise InvalidRequest(
            f"the box's threshold is {threshold}: use a share from 0 to less than 1, "
            "or none for the map's mean",
            field="threshold",
        )


def box_of(outcome: Outcome, placement: Placement, wanted: BoxOrder) -> Rectangle | None:
    """The box of the map's largest part above a threshold.

    Zhang et al. 2024, "Opti-CAM", appendix B: the map is cut at its mean, and the largest
    connected component has the box. Here both are taken on the grid of the original image,
    within what the model saw of it, and pixels that touch at a corner are connected, as in the
    contours that published code draws. Of parts of one size the first has it, row by row.

    Args:
        outcome: a finished map; a signed one points at its positive part.
        placement: where the model's input lies in the original image.
        wanted: the threshold.

    Returns:
        The box, in whole pixels; None where the map is flat there.
    """
    values, top, left = _seen(outcome, placement)
    if values.size == 0 or is_flat(float(values.min()), float(values.max())):
        return None
    part = _largest_part(values > _level(values, wanted.threshold))
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return Rectangle(
        left=float(left + columns[0]),
        top=float(top + rows[0]),
        width=float(columns[-1] - columns[0] + 1),
        height=float(rows[-1] - rows[0] + 1),
    )


def _seen(outcome: Outcome, placement: Placement) -> tuple[NDArray[np.float32], int, int]:
    """The map on the original pixels that the model saw, [h, w], and the first's row and column."""
    raw = np.maximum(outcome.map, 0) if outcome.signed else outcome.map
    validity = placement.validity()
    rows, columns = np.flatnonzero(validity.any(axis=1)), np.flatnonzero(validity.any(axis=0))
    if not len(rows):  # The crop fell between the centres of a handful of pixels.
        return np.empty((0, 0), np.float32), 0, 0
    top, left = int(rows[0]), int(columns[0])
    values = placement.to_original(raw)[top : rows[-1] + 1, left : columns[-1] + 1]
    return values, top, left


def _level(values: NDArray[np.float32], threshold: float | None) -> np.float64:
    """What a pixel must exceed; at least the greatest one does."""
    if threshold is None:
        return np.float64(values.mean(dtype=np.float64))
    low, high = float(values.min()), float(values.max())
    return np.float64(min(low + threshold * (high - low), math.nextafter(high, low)))


def _largest_part(above: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected component of [h, w], which has one."""
    # Half a second and 25 MB, which only boxes need.
    from skimage.measure import label

    parts = label(above, connectivity=2)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # What is not above.
    largest: NDArray[np.bool_] = parts == sizes.argmax()
    return largest
