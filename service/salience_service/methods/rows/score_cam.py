"""Score-CAM: each channel weighs what the image keeps of the target when it is the mask."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.asking import finite, scored
from salience_service.methods.channels import Weights, positive_sum
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial, Rows
from salience_service.methods.rows.agreement import agreement_by_growth
from salience_service.methods.rows.confidence import Change, Confidence, rows_each
from salience_service.methods.rows.promise import Promising
from salience_service.methods.rows.scoring import Scoring
from salience_service.methods.rows.target_score import Score

CHANGES: dict[str, Change] = {"cic": "plus", "cdc": "minus", "cvc": "plus-minus"}
"""Channel-wise increase, decrease and variation of confidence, as Poly-CAM weighs layers."""


class ScoreCamOptions(Options):
    """What a channel's score is, and how scores become weights."""

    score: Score = Field(
        "logit",
        description="What a masked image is scored by: the target's logit or probability; "
        "cic, cdc and cvc always take the probability.",
    )
    weights: Literal["softmax", "raw", "cic", "cdc", "cvc"] = Field(
        "softmax",
        description="Scores become weights by a softmax over channels, or as they are; or a "
        "channel weighs what showing it gains (cic, CAM+), what hiding it loses (cdc, CAM-), "
        "or both (cvc, CAM±).",
    )


def score_cam(base: Base, options: ScoreCamOptions) -> MethodRun:
    """relu(Σ_k w_k A_k), float32 [h, w], with w from f(x ⊙ n(up(A_k))).

    Wang et al. 2020, "Score-CAM", algorithm 1. The score of the empty image that the
    paper takes off every channel is left out: a softmax does not see it. With
    `score=probability, weights=raw` this is what the authors' code computes.

    cic, cdc and cvc are equations 4, 5 and 6 of Englebert et al. 2022, "Poly-CAM", on
    the one tap: the CAM+, CAM− and CAM± of its tables 2 and 3, with f(X_b) = 0. For a
    class, cic equals `score=probability, weights=raw`.

    Anytime, unless by confidence: channels are scored in the order of their promise, and
    those that were not scored, in a map in the making or one that is ended early, count as
    the mean of those that were. With all of them scored, order leaves no trace.
    """
    if options.weights in CHANGES:
        return (yield from _by_confidence(base, CHANGES[options.weights]))
    promising = Promising(base.features[base.tap])
    scoring = Scoring(base, options.score, by_softmax=options.weights == "softmax")

    def drawn(logits: NDArray[np.float32]) -> Partial:
        scores = finite(scoring.of(logits))
        done, channels = len(scores), len(promising.features)
        before = scoring.drawn(promising.completed(scores[: (done + 1) // 2]))
        so_far = scoring.drawn(promising.completed(scores))
        agreed = agreement_by_growth(before, so_far, promising.left(done))
        return Partial(so_far, base.tap, done / channels, agreed)

    scores = yield from scored(Rows(promising, preview=drawn, anytime=True), scoring.of)
    return Outcome(scoring.drawn(promising.completed(scores)))


def score_cam_anytime(options: ScoreCamOptions) -> bool:
    """Maps by changes of confidence need all their rows."""
    return options.weights not in CHANGES


def score_cam_rows(extent: Extent, options: ScoreCamOptions) -> int:
    """One row a channel, shown or hidden; two for cvc."""
    each = rows_each(CHANGES[options.weights]) if options.weights in CHANGES else 1
    return sum(extent.channels) * each


def _by_confidence(base: Base, change: Change) -> MethodRun:
    """The map whose weights are changes of the probability."""
    features = base.features[base.tap]
    rows = len(features) * rows_each(change)

    def drawn(weights: Weights, done: int) -> Partial:
        image_map = positive_sum(weights, features).astype(np.float32)
        return Partial(image_map, base.tap, done / rows)

    weights = yield from Confidence(base, features, True, change, drawn).weights()
    return Outcome(positive_sum(weights, features).astype(np.float32))
