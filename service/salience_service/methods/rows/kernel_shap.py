"""KernelSHAP: Shapley values of superpixels, by a regression over sampled coalitions."""

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


class KernelShapOptions(CoalitionOptions):
    """How the image is cut and sampled, and what a masked image is scored by."""

    score: Score = Field("logit", description=SCORE)


def kernel_shap(base: Base, options: KernelShapOptions) -> MethodRun:
    """The Shapley value φ of each superpixel, float32 [H, W] of the input, signed.

    argmin_φ Σ_z π(z) (f(z) − f(∅) − φ·z)² under Σ φ = f(x) − f(∅), with f(∅) the score of
    the fill and π(z) = (K − 1) / (C(K, k) k (K − k)) for a coalition of k of K superpixels:
    Lundberg and Lee 2017, "A unified approach to interpreting model predictions",
    theorem 2. Coalitions are drawn with probability ∝ π (as captum does), so that all
    count alike in the regression; each is followed by its complement (Covert and Lee 2021,
    "Improving KernelSHAP", §4.2): a quarter of the error, measured on a small network
    with 100 to 1,000 samples of 9 superpixels. The whole image and the empty one come
    first, and count among the samples. Superpixels as in LIME. A pixel has its
    superpixel's φ: the completeness is over superpixels, not pixels.
    """
    cut = superpixels(base.image, options.superpixels, options.segments, base.colour_order)
    masks = Coalitions(cut, options.samples, options.seed, shapley_draws)

    def scores(logits: NDArray[np.float32]) -> Scores:
        return score_of(base.target, logits, options.score)

    def drawn(logits: NDArray[np.float32]) -> Partial:
        values = shapley_values(masks.shown[: len(logits)], finite(scores(logits)))
        return Partial(cut.painted(values), "", len(logits) / options.samples)

    found = yield from scored(PixelRows(masks, preview=drawn), scores)
    return Outcome(cut.painted(shapley_values(masks.shown, found)), signed=True)


def kernel_shap_working(extent: Extent, options: KernelShapOptions) -> int:
    """The regression's coalitions less their mean, as it copies, centres and solves them."""
    return 4 * coalition_numbers(extent, options)


def shapley_draws(generator: np.random.Generator, samples: int, count: int) -> Shown:
    """The whole, the empty one, then coalitions as the Shapley kernel weighs them, in pairs."""
    pairs = -(-samples // 2) - 1
    drawn = np.zeros((pairs + 1, 2, count), np.bool_)
    if count > 1:
        sizes = np.arange(1, count)
        weights = 1 / (sizes * (count - sizes))
        chosen = generator.choice(sizes, pairs, p=weights / weights.sum())
        ranks = generator.random((pairs, count)).argsort(axis=1).argsort(axis=1)
        drawn[1:, 0] = ranks < chosen[:, None]
    drawn[0, 0] = True
    drawn[:, 1] = ~drawn[:, 0]
    return drawn.reshape(-1, count)[:samples]


def shapley_values(shown: Shown, scores: Scores) -> Scores:
    """φ, float64 [count], of coalitions [n, count] of which the first two are whole and empty.

    The constraint is met exactly, and alike for all superpixels: φ = (f(x) − f(∅))/K + ψ
    with Σ ψ = 0, where ψ is the regression on coalitions less their own mean. Where the
    samples do not settle ψ, it is the least that fits.
    """
    # scikit-learn takes seconds to import, and most servers never need it.
    from sklearn.linear_model import LinearRegression

    # A map in the making may know the whole alone: nothing is attributed then.
    empty = scores[min(1, len(scores) - 1)]
    share = shown.mean(axis=1)
    change = scores[0] - empty
    model = LinearRegression(fit_intercept=False)
    model.fit(shown - share[:, None], scores - empty - share * change)
    own = np.asarray(model.coef_, np.float64)
    values: Scores = own - own.mean() + change / shown.shape[1]
    return values
