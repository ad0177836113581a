"""Opti-CAM: the weights of channels whose map, as a mask, serves the target best."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.channels import Weights, softmax, weighted_sum
from salience_service.methods.method import Extent
from salience_service.methods.optimised.adam import Adam
from salience_service.methods.optimised.normalisers import NORMALISERS, Normaliser
from salience_service.methods.optimised.objectives import OBJECTIVES, Objective, masks_each
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome, Partial


class OptiCamOptions(Options):
    """How far and how long Opti-CAM climbs."""

    learning_rate: float = Field(0.1, ge=1e-4, le=10, description="Adam's learning rate.")
    iterations: int = Field(100, ge=1, le=1000, description="Most steps of Adam.")
    stop: Literal["plateau", "paper", "none"] = Field(
        "plateau",
        description="When to stop early: `patience` steps that gain less than 1e-4 of the best "
        "value (plateau), a step that changes it by less than 1e-10 (paper), or never (none).",
    )
    patience: int = Field(30, ge=1, le=1000, description="Steps that a plateau lasts.")
    objective: Objective = Field(
        "mask",
        description="What is maximised: the masked image's value (mask), its closeness to the "
        "image's (diff), or either less the same of the inverted mask (iomask, iodiff).",
    )
    normaliser: Normaliser = Field(
        "range",
        description="How the map becomes a mask: min–max (range), divided by its greatest value "
        "(max), or through the logistic function (sigmoid).",
    )


def opti_cam(base: Base, options: OptiCamOptions) -> MethodRun:
    """S = Σ_k softmax(u)_k A_k, float32 [h, w], with u climbing F, an objective of S as a mask.

    Zhang et al. 2024, "Opti-CAM", equations 8–11, with their settings: the identity for h,
    the logit for g; u starts at zero. By default n is min–max (16) and F the masked image's
    value, "Mask" (10). The other objectives of their ablation (19, F.1, F.2) are in
    `objectives.py`, its other normalisers (17, 18) in `normalisers.py`; the paper has Mask
    and min–max ahead of all of them, in AG. Departures: every image stops by itself (the
    authors' code sums its loss over the batch), and the best map evaluated is kept, the one
    after the last step included, where the paper returns the last. A map that n makes flat
    has no gradient and ends the climb under any rule; so does a Diff that reached zero.
    """
    features = base.features[base.tap]
    ended = _stop(options)
    shown = NORMALISERS[options.normaliser](base)
    climbed = OBJECTIVES[options.objective](shown, float(base.target.value(base.logits)))
    adam, u = Adam(options.learning_rate, len(features)), np.zeros(len(features))
    values: list[float] = []
    for step in range(options.iterations + 1):
        weights = softmax(u)
        current = weighted_sum(weights, features).astype(np.float32)
        answer = yield from climbed(current)
        if not values or answer.value > max(values):
            best = current
        values.append(float(answer.value))
        if step % PARTIAL_EVERY == 0:
            yield Partial(best, base.tap, step / options.iterations)
        settled = ended(values) or not answer.gradient.any()
        if settled:
            break
        u = adam.climb(u, logit_gradient(weights, features, answer.gradient))
    return Outcome(best, iterations=step, converged=settled or plateau(values, options.patience))


def opti_cam_rows(extent: Extent, options: OptiCamOptions) -> int:  # noqa: ARG001
    """At most one gradient a step, and one for the map after the last; two with the inverse."""
    return masks_each(options.objective) * (options.iterations + 1)


def logit_gradient(weights: Weights, features: FloatMap, map_gradient: FloatMap) -> Weights:
    """dF/du of F(Σ_k softmax(u)_k A_k), float64 [K].

    With g_k = Σ_xy dF/dS · A_k, which is dF/dw_k: dF/du = w ⊙ (g − Σ_k w_k g_k).

    Args:
        weights: softmax(u), [K].
        features: A, [K, h, w].
        map_gradient: dF/dS, [h, w].
    """
    per_weight = np.tensordot(features, np.asarray(map_gradient, np.float64), axes=2)
    gradient: NDArray[np.float64] = weights * (per_weight - weights @ per_weight)
    return gradient


LEAST_GAIN = 1e-4
"""What the steps of a plateau must gain together, as a share of the best value before them."""
PARTIAL_EVERY = 5
"""Steps between partial maps."""


def plateau(values: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` values together gained at most 1e-4 of the best before them.

    Thirty by default, since the value swings as it climbs: on 20 photographs
    (EfficientNet-Lite0, 320×7×7) ten cost 1.8 points of AG, twenty 0.5, thirty none.
    """
    if len(values) <= patience:
        return False
    before = max(values[:-patience])
    return max(values[-patience:]) - before <= LEAST_GAIN * abs(before)


def still(values: Sequence[float]) -> bool:
    """The paper's rule, |Δ| < 1e-10: below float32's spacing at most logits."""
    return len(values) > 1 and abs(values[-1] - values[-2]) < 1e-10


def _stop(options: OptiCamOptions) -> Callable[[Sequence[float]], bool]:
    """The rule that says, from all values so far, whether to stop."""
    match options.stop:
        case "plateau":
            return lambda values: plateau(values, options.patience)
        case "paper":
            return still
        case "none":
            return lambda _values: False
