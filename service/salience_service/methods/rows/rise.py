"""RISE: the mean of random masks, each weighed by what the image keeps of the target under it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.errors import InvalidRequest
from salience_service.methods.asking import Scores, answered, finite
from salience_service.methods.method import Extent
from salience_service.methods.options import Options, Seed
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial, PixelRows
from salience_service.methods.rows.agreement import agreement_of_halves
from salience_service.methods.rows.random_grids import BLOCK, MaskSum, RandomGrids
from salience_service.methods.rows.target_score import PART, SCORE, Score, score_of


class RiseOptions(Options):
    """How many masks, how they are drawn, and what a masked image is scored by."""

    masks: int = Field(6000, ge=1, le=20000, description="How many random masks.")
    cells: int = Field(8, ge=2, le=64, description="Cells along a side of a mask's random grid.")
    probability: float = Field(
        0.1, ge=0.01, le=0.99, description="How probable it is that a cell shows the image."
    )
    score: Score = Field("probability", description=SCORE)
    seed: Seed = Field(0, description="Masks of one seed are always the same.")


def rise(base: Base, options: RiseOptions) -> MethodRun:
    """1/(N p) Σ_i f(x ⊙ M_i) M_i, float32 [H, W] of the input.

    Petsiuk et al. 2018, "RISE: randomized input sampling for explanation of black-box
    models", equation 6, with the masks of its §3.2 and the settings of the authors' code
    (6,000 masks of 8 × 8 cells, p = 0.1; the paper has p = 0.5). Departures: what is hidden
    is the request's fill, not always zero; the masks are not kept (`MaskSum`).

    Anytime: masks are random, so that none promises more than another and their order is as
    good as any. Ended after n of N masks, the map is that of the first n.
    """
    masks = RandomGrids(
        options.masks, options.cells, options.probability, options.seed, base.height, base.width
    )
    so_far = _SoFar(masks, lambda logits: finite(score_of(base.target, logits, options.score)))

    answer = yield from answered(PixelRows(masks, preview=so_far.drawn, anytime=True))
    return Outcome(so_far.drawn(answer.logits).map)


def rise_rows(extent: Extent, options: RiseOptions) -> int:
    """One row a mask.

    Raises:
        InvalidRequest: more cells along a side than pixels.
    """
    side = min(extent.height, extent.width)
    if options.cells > side:
        raise InvalidRequest(
            f"option cells is {options.cells}: this model's input has a side of {side} pixels; "
            f"give at most {side}",
            field="cells",
        )
    return options.masks


def rise_working(extent: Extent, options: RiseOptions) -> int:  # noqa: ARG001
    """Two blocks of grids, as they are drawn, cut and weighed."""
    return 3 * BLOCK * options.cells**2


class _SoFar:
    """The first masks, weighed by their scores and summed: all of them, and every other one.

    Args:
        masks: the series. score: logits [n, classes] to finite scores [n].
    """

    def __init__(self, masks: RandomGrids, score: Callable[[NDArray[np.float32]], Scores]) -> None:
        self._masks, self._score = masks, score
        self._all, self._odd = MaskSum(masks), MaskSum(masks)

    def drawn(self, logits: NDArray[np.float32]) -> Partial:
        """The map of the first masks, from their logits [n, classes]; n never falls."""
        assert len(logits) >= self._all.done  # What was summed cannot be taken out again.
        for start in range(self._all.done, len(logits), PART):
            scores = self._score(logits[start : start + PART])
            self._all.add(scores)
            self._odd.add(scores * (np.arange(start, start + len(scores)) % 2))
        total, odd = self._all.total(), self._odd.total()
        share = self._all.done / self._masks.count
        mean = (total / (self._all.done * self._masks.probability)).astype(np.float32)
        return Partial(mean, "", share, agreement_of_halves(total - odd, odd, share))
