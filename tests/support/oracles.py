"""A map beside its oracle: the number that is explained, and how near is near."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def value_of(index: int, score: str) -> Callable[[Tensor], Tensor]:
    """Of logits [classes], that of a class, or its softmax probability where that is the score."""
    if score == "logit":
        return lambda logits: logits[index]
    return lambda logits: torch.softmax(logits, 0)[index]


def close(found: np.ndarray, wanted: np.ndarray, share: float = 1e-5) -> None:
    """At most this share of the oracle's own range apart, which is not flat."""
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(found, wanted, atol=share * np.ptp(wanted))
