"""Scores of channels, and the weights that they become: the choices of the Score-CAM family."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.asking import finite
from salience_service.methods.channels import Weights, positive_sum, softmax
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, Partial
from salience_service.methods.rows.target_score import SCORE, Score, score_of


class ScoringOptions(Options):
    """What a channel's score is, and how scores become weights."""

    score: Score = Field("logit", description=SCORE)
    weights: Literal["softmax", "raw"] = Field(
        "softmax", description="Scores become weights by a softmax over channels, or as they are."
    )


class Scoring:
    """Scores the rows of one tap's channels, and draws the map that their scores make.

    Args:
        base: the clean run.
        score: what a row is scored by.
        by_softmax: whether weights are a softmax of scores, or the scores.
    """

    def __init__(self, base: Base, score: Score, by_softmax: bool) -> None:
        self._base = base
        self._score = score
        self._weights = softmax if by_softmax else np.asarray

    def of(self, logits: NDArray[np.float32]) -> Weights:
        """Scores float64 [n] of rows with logits [n, classes]."""
        return score_of(self._base.target, logits, self._score)

    def drawn(self, scores: Weights) -> FloatMap:
        """relu(Σ_k w_k A_k) over the channels that have a score, float32 [h, w]."""
        features = self._base.features[self._base.tap][: len(scores)]
        return positive_sum(self._weights(scores), features).astype(np.float32)

    def preview(self, logits: NDArray[np.float32], rows: int) -> Partial:
        """The map of the first channels, from their logits [n, classes]; `rows` are expected."""
        scores = finite(self.of(logits))
        return Partial(self.drawn(scores), self._base.tap, len(scores) / rows)
