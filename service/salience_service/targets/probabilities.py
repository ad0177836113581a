"""The probabilities of all classes, from the logits of one image."""

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Head, OutputKind


def probabilities(logits: NDArray[np.floating], head: Head) -> NDArray[np.float64]:
    """p of every class, float64 [K] in [0, 1]; of a regression never asked.

    Args:
        logits: [K], none NaN.
        head: what they mean.
    """
    values = np.asarray(logits, np.float64)
    if head.kind is OutputKind.SIGMOID:
        return np.asarray(np.exp(-np.logaddexp(0, -values)))
    top = values.max()
    if np.isinf(top):  # The highest share all of it; infinity less itself would be NaN.
        values, top = np.where(values == top, 0, -np.inf), 0
    shifted = np.exp(values - top)
    return np.asarray(shifted / shifted.sum())
