"""The classes with the highest logits."""

import numpy as np
from numpy.typing import NDArray


def highest(logits: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Indices of the highest logits, from the highest down, equal ones by index; intp [≤ count].

    Args:
        logits: [K], none NaN.
        count: how many, ≥ 1; all of fewer.
    """
    least = np.partition(logits, -count)[-count] if count < len(logits) else -np.inf
    among = np.flatnonzero(logits >= least)
    return among[np.argsort(-logits[among], kind="stable")][:count]
