"""Insertion and deletion: the target's probability while the salient pixels come or go."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.errors import NotPossible
from salience_service.events import ScoreCurve
from salience_service.interpolation import is_flat, upsample
from salience_service.methods.probe import FloatMap, Outcome, PixelRows
from salience_service.request import CurveProtocol, ScoreKind
from salience_service.targets.target import Target

CURVED = (ScoreKind.INSERTION, ScoreKind.DELETION, ScoreKind.INSERTION_DELETION)
"""The scores that are taken of curves."""


@dataclass(frozen=True, eq=False)
class RevealedPixels:
    """Masks [steps + 1, H, W] that show, or hide, one step's pixels more each.

    A step is as many pixels as a row of the image has (Petsiuk et al. 2018: 224 of 224 × 224),
    so that there are H steps.

    Attributes:
        kind: INSERTION shows pixels, DELETION hides them.
        step_of: int [H, W], the step by which a pixel comes or goes, from 0.
    """

    kind: ScoreKind
    step_of: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """[steps + 1, H, W]."""
        return (len(self.step_of) + 1, *self.step_of.shape)

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Masks start to stop, float32, of zeros and ones."""
        steps = np.arange(part.start, part.stop)[:, None, None]
        changed = self.step_of < steps
        return (changed if self.kind is ScoreKind.INSERTION else ~changed).astype(np.float32)


def curved(kinds: Collection[ScoreKind]) -> tuple[ScoreKind, ...]:
    """The curves that these scores are taken of: INSERTION, DELETION, both or none."""
    both = ScoreKind.INSERTION_DELETION in kinds
    return tuple(kind for kind in CURVED[:2] if both or kind in kinds)


def curve_row_count(kinds: Collection[ScoreKind], height: int) -> int:
    """Rows that the curves of one map take on a model's input of this height."""
    return len(curved(kinds)) * (height + 1)


def curve_rows(kinds: Collection[ScoreKind], outcome: Outcome, size: tuple[int, int]) -> "_Rows":
    """The rows of each curve that these scores are taken of.

    Pixels are ranked by the map at the size of the model's input [H, W], signed ones by value,
    equal ones by their place, row by row; a flat map thus shows the rows of the image from the
    top. (Published codes leave ties to their sort.) Where no curve is asked for there are none,
    and no pixel is ranked.
    """
    asked = curved(kinds)
    if not asked:
        return {}
    step_of = _ranks(upsample(outcome.map, *size)) // size[1]
    return {kind: PixelRows(RevealedPixels(kind, step_of)) for kind in asked}


def curve(kind: ScoreKind, target: Target, logits: NDArray[np.float32]) -> ScoreCurve:
    """The curve of these rows' logits [steps + 1, classes].

    Raises:
        NotPossible: a probability is NaN.
    """
    probabilities = target.probability(logits)
    if np.isnan(probabilities).any():
        raise NotPossible(
            f"a probability behind the {kind.value} curve is NaN: the model overflows on "
            "partly hidden images; another curve protocol may avoid it"
        )
    shares = np.linspace(0, 1, len(probabilities))
    return ScoreCurve(kind, tuple(shares.tolist()), tuple(probabilities.tolist()))


def areas(
    kinds: Collection[ScoreKind], curves: Sequence[ScoreCurve], protocol: CurveProtocol
) -> dict[ScoreKind, float]:
    """Those of these scores that are taken of curves: areas in [0, 1], their difference.

    Args:
        kinds: scores of any kind.
        curves: of every kind that `curved` tells for them.
        protocol: RISE takes the area by trapezoids, start and end counting half (Petsiuk et
            al. 2018); POLYCAM the mean of all steps but the start (Englebert et al. 2022).
    """
    found = {each.kind: _area(np.array(each.probabilities), protocol) for each in curves}
    if ScoreKind.INSERTION_DELETION in kinds:
        difference = found[ScoreKind.INSERTION] - found[ScoreKind.DELETION]
        found[ScoreKind.INSERTION_DELETION] = difference
    return {kind: found[kind] for kind in kinds if kind in CURVED}


_Rows = Mapping[ScoreKind, PixelRows]


def _ranks(values: FloatMap) -> NDArray[np.int64]:
    """The place of each pixel of [H, W], greatest value first, from 0."""
    if is_flat(float(values.min()), float(values.max())):
        return np.arange(values.size).reshape(values.shape)  # Not by its rounding errors.
    ranks = np.empty(values.size, np.int64)
    ranks[np.argsort(-values.ravel(), kind="stable")] = np.arange(values.size)
    return ranks.reshape(values.shape)


def _area(probabilities: NDArray[np.float64], protocol: CurveProtocol) -> float:
    if protocol is CurveProtocol.POLYCAM:
        return float(probabilities[1:].mean())
    ends = (probabilities[0] + probabilities[-1]) / 2
    return float((probabilities.sum() - ends) / (len(probabilities) - 1))
