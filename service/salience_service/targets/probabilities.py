"""The probabilities of all classes, from the logits of one image."""

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Head, OutputKind


def probabilities(logits: NDArray[np.floating], head: Head) -> NDArray[np.float64]:
    """p of every class, float64 [K] in [0, 1]; of a regression never asked.

    Args:
        logits: [K], at least one of them finite, none NaN or +inf.
        head: what they mean.
    """
    values = np.asarray(logits, np.float64)
    if head.kind is OutputKind.SIGMOID:
        return np.asarray(np.exp(-np.logaddexp(0, -values)))
    shifted = np.exp(values - values.max())
    return np.asarray(shifted / shifted.sum())
