"""LIME: a weighted linear model of the target's score over superpixels shown and hidden."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.asking import Scores, finite, scored
from salience_service.methods.method import Extent
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial, PixelRows
from salience_service.methods.rows.coalitions import (
    CoalitionOptions,
    Coalitions,
    Shown,
    coalition_numbers,
)
from salience_service.methods.rows.superpixels import superpixels
from salience_service.methods.rows.target_score import SCORE, Score, score_of


class LimeOptions(CoalitionOptions):
    """How the image is cut and sampled, how near a sample counts, and what it is scored by."""

    kernel_width: float = Field(
        0.25, ge=0.01, le=10, description="Width of the kernel that weighs samples by nearness."
    )
    score: Score = Field("probability", description=SCORE)


def lime(base: Base, options: LimeOptions) -> MethodRun:
    """The coefficient of each superpixel, float32 [H, W] of the input, signed.

    argmin_{w,b} Σ_z π(z) (f(z) − w·z − b)² + ‖w‖², over coalitions z in {0, 1}^K drawn by a
    fair coin, the first of them the whole image; π(z) = exp(−d²/(2 · width²)), d the cosine
    distance of z from the whole. Ribeiro et al. 2016, "Why should I trust you?", equation 1
    and §3.3 to 3.4, with the choices of the authors' package for images: quickshift, the
    coin, ridge regression with penalty 1. Departures: all superpixels stay in the model;
    what is hidden is the request's fill (theirs: each superpixel's mean colour by
    default); superpixels are cut from the model's input, brought to [0, 1].
    """
    cut = superpixels(base.image, options.superpixels, options.segments, base.colour_order)
    masks = Coalitions(cut, options.samples, options.seed, coin_flips)

    def scores(logits: NDArray[np.float32]) -> Scores:
        return score_of(base.target, logits, options.score)

    def drawn(logits: NDArray[np.float32]) -> Partial:
        shown = masks.shown[: len(logits)]
        weights = _coefficients(shown, finite(scores(logits)), options.kernel_width)
        return Partial(cut.painted(weights), "", len(logits) / options.samples)

    found = yield from scored(PixelRows(masks, preview=drawn), scores)
    weights = _coefficients(masks.shown, found, options.kernel_width)
    return Outcome(cut.painted(weights), signed=True)


def lime_working(extent: Extent, options: LimeOptions) -> int:
    """The regression's coalitions, as it copies, centres and weighs them."""
    return 4 * coalition_numbers(extent, options)


def coin_flips(generator: np.random.Generator, samples: int, count: int) -> Shown:
    """The whole image, then coalitions that show each superpixel with probability 1/2."""
    shown = generator.integers(0, 2, (samples, count), np.uint8).astype(np.bool_)
    shown[0] = True
    return shown


def nearness(shown: Shown, width: float) -> Scores:
    """π of coalitions [n, count], float64 [n] in (0, 1].

    The cosine distance of a coalition of k of K from the whole is 1 − √(k/K); that of
    the empty one is 1.
    """
    distance = 1 - np.sqrt(shown.mean(axis=1))
    weights: Scores = np.exp(-(distance**2) / (2 * width**2))
    return weights


def _coefficients(shown: Shown, scores: Scores, width: float) -> Scores:
    """w of the weighted ridge regression, float64 [count]."""
    # scikit-learn takes seconds to import, and most servers never need it.
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1.0).fit(shown.astype(np.float64), scores, nearness(shown, width))
    return np.asarray(model.coef_, np.float64)
