"""What a masked image is scored by: the target's logit, or its probability."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.asking import Scores
from salience_service.targets.target import Target

Score = Literal["logit", "probability"]

SCORE = "What a masked image is scored by: the target's logit or probability."

PART = 512
"""Logits taken to float64 at a time: twenty thousand rows of a thousand classes are too many."""


def score_of(target: Target, logits: NDArray[np.float32], score: Score) -> Scores:
    """Scores of rows, float64 [n].

    Args:
        target: what is explained.
        logits: float32 [n, classes].
        score: `logit`: the target's value; `probability`: its probability, or for a
            regression its value.
    """
    of = target.value if score == "logit" else target.confidence
    parts = [of(logits[start : start + PART]) for start in range(0, len(logits), PART)]
    return np.concatenate(parts) if parts else np.empty(0)
