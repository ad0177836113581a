"""SmoothGrad: the gradient, averaged over noisy twins of the image."""

from typing import Literal

import numpy as np
from pydantic import Field

from salience_service.methods.asking import image_gradient
from salience_service.methods.gradients.colours import (
    REDUCTION,
    VALUES,
    Reduction,
    Values,
    chosen,
    over_colours,
)
from salience_service.methods.gradients.noise import SEED, noisy
from salience_service.methods.options import Options, Seed
from salience_service.methods.probe import Base, MethodRun, Outcome, Partial


class SmoothGradOptions(Options):
    """How many noisy images, how noisy, and what counts of their gradients."""

    samples: int = Field(50, ge=1, le=1000, description="Noisy images.")
    sigma: float = Field(1.0, ge=0, le=100, description="Deviation of the noise, in `unit`.")
    unit: Literal["input", "range"] = Field(
        "input",
        description="What sigma is counted in: the model's own, normalised numbers, or the "
        "range of the image, max − min, as in the paper (0.1 to 0.2 there).",
    )
    seed: Seed = SEED
    values: Values = Field("absolute", description=VALUES)
    reduction: Reduction = Field("sum", description=REDUCTION)


def smooth_grad(base: Base, options: SmoothGradOptions) -> MethodRun:
    """Σ_c 1/n Σ_s |∂y(x + N(0, σ²))/∂x_c|, float32 [H, W] of the model's input.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", the sum of §3; y
    is the target's value, a logit, and x the model's own, normalised numbers. With
    `values=signed` the mean is of the gradients themselves, as the paper writes it, and the
    map is signed. Departures: absolute values are taken before the mean, σ is 1 in
    normalised numbers, and colours are added up: captum's and Poly-CAM's comparison's choices.
    """
    sigma = options.sigma * (float(np.ptp(base.image)) if options.unit == "range" else 1)
    signed = options.values == "signed"
    total = np.zeros(base.image.shape)
    for sample in range(options.samples):
        gradient = yield from image_gradient(noisy(base.image, sigma, options.seed, sample))
        total += chosen(gradient, options.values)
        image_map = over_colours(total / (sample + 1), options.reduction)
        if (sample + 1) % PARTIAL_EVERY == 0 and sample + 1 < options.samples:
            yield Partial(image_map, "", (sample + 1) / options.samples)
    return Outcome(image_map, signed=signed)


PARTIAL_EVERY = 5
"""Noisy images between partial maps."""
