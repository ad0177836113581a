"""Score-CAM: each channel weighs what the image keeps of the target when it is the mask."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.asking import finite, scored
from salience_service.methods.channels import Weights, positive_sum, softmax
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial, Rows
from salience_service.target import Target


class ScoreCamOptions(Options):
    """What a channel's score is, and how scores become weights."""

    score: Literal["logit", "probability"] = Field(
        "logit", description="What a masked image is scored by: the target's logit or probability."
    )
    weights: Literal["softmax", "raw"] = Field(
        "softmax", description="Scores become weights by a softmax over channels, or as they are."
    )


def score_cam(base: Base, options: ScoreCamOptions) -> MethodRun:
    """relu(Σ_k w_k A_k), float32 [h, w], with w from f(x ⊙ n(up(A_k))).

    Wang et al. 2020, "Score-CAM", algorithm 1. The score of the empty image that the
    paper takes off every channel is left out: a softmax does not see it. With
    `score=probability, weights=raw` this is what the authors' code computes.
    """
    features = base.features[base.tap]

    def drawn(logits: NDArray[np.float32]) -> Partial:
        weights = _weights(finite(_scores(base.target, logits, options)), options)
        so_far = features[: len(weights)]
        image_map = positive_sum(weights, so_far).astype(np.float32)
        return Partial(image_map, base.tap, len(so_far) / len(features))

    scores = yield from scored(
        Rows(features, preview=drawn), lambda logits: _scores(base.target, logits, options)
    )
    return Outcome(positive_sum(_weights(scores, options), features).astype(np.float32))


def score_cam_rows(channels: tuple[int, ...], options: ScoreCamOptions) -> int:  # noqa: ARG001
    """One row a channel."""
    return sum(channels)


def _scores(target: Target, logits: NDArray[np.float32], options: ScoreCamOptions) -> Weights:
    """float64 [n] of logits [n, classes]."""
    if options.score == "logit":
        return target.value(logits)
    return target.confidence(logits)


def _weights(scores: Weights, options: ScoreCamOptions) -> Weights:
    """float64 [n] of scores [n]."""
    return softmax(scores) if options.weights == "softmax" else scores
