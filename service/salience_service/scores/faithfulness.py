"""AD, AI and AG: what masking the image with its map does to the target's probability."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods.probe import Outcome, Rows
from salience_service.request import ScoreKind
from salience_service.targets.target import Target, sigmoid

Logits = NDArray[np.float32]
MASKED = (ScoreKind.AVERAGE_DROP, ScoreKind.AVERAGE_INCREASE, ScoreKind.AVERAGE_GAIN)
"""The scores that are taken of the image masked by its map."""


@dataclass(frozen=True)
class Faithfulness:
    """Scores of one map on one image, in percent, and the probabilities behind them.

    Each score is the summand of a mean over images, as Zhang et al. 2024, "Opti-CAM",
    give them; AG is their equation 15.
    """

    scores: Mapping[ScoreKind, float]
    clean_probability: float
    masked_probability: float


def refuse_unscorable(kinds: Collection[ScoreKind], output: OutputKind) -> None:
    """Says early whether a model can be scored at all.

    Raises:
        InvalidRequest: scores are asked of a regression, which has no probability.
    """
    if kinds and output is OutputKind.REGRESSION:
        named = ", ".join(kind.value for kind in kinds)
        raise InvalidRequest(
            f"scores {named} need a probability and this model is a regression: ask for none"
        )


def masked_rows(outcomes: Sequence[Outcome]) -> Rows:
    """The row of each map by which it is scored: its mask is n(up(map)), in [0, 1].

    A signed map is scored by its positive part, the evidence for the target: its zero
    must hide, where min–max would show half of it.

    Args:
        outcomes: maps of one size.
    """
    maps = [np.maximum(each.map, 0) if each.signed else each.map for each in outcomes]
    return Rows(np.stack(maps))


def faithfulness(
    kinds: Collection[ScoreKind], target: Target, clean: Logits, masked: Logits
) -> Faithfulness:
    """Those of the scores asked for that are taken of the masked image.

    Args:
        kinds: scores of any kind.
        target: the target; scored by its probability p (clean) and o (masked).
        clean: logits [classes] of the image.
        masked: logits [classes] of the masked row.

    Raises:
        InvalidRequest: the model is a regression.
        NotPossible: a probability is not a number.
    """
    refuse_unscorable(kinds, target.output)
    clean_odds, masked_odds = target.log_odds(clean), target.log_odds(masked)
    p, o = float(sigmoid(clean_odds)), float(sigmoid(masked_odds))
    if np.isnan(p) or np.isnan(o):
        raise NotPossible(
            "a probability behind the scores is NaN: the model overflows on the masked image; "
            "another fill may avoid it"
        )
    every = {
        ScoreKind.AVERAGE_DROP: _drop(p, o),
        ScoreKind.AVERAGE_INCREASE: 100.0 * bool(masked_odds > clean_odds),
        ScoreKind.AVERAGE_GAIN: _gain(float(sigmoid(-clean_odds)), float(sigmoid(-masked_odds))),
    }
    return Faithfulness({kind: every[kind] for kind in kinds if kind in every}, p, o)


def _drop(p: float, o: float) -> float:
    """100 · max(0, p − o) / p; 0 where p is 0 and nothing can drop."""
    return 100 * (max(0.0, p - o) / p) if p > 0 else 0.0


def _gain(p_complement: float, o_complement: float) -> float:
    """100 · max(0, o − p) / (1 − p), of 1 − p and 1 − o; 0 where 1 − p is 0.

    The numerator is the difference of the complements: exact where both probabilities
    round to 1.
    """
    gained = max(0.0, p_complement - o_complement)
    return 100 * (gained / p_complement) if p_complement > 0 else 0.0
