"""Integrated gradients: what each pixel adds to the target on the way from fill to image."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.asking import image_gradient
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome, Partial


class IntegratedGradientsOptions(Options):
    """How finely the way is cut."""

    steps: int = Field(50, ge=1, le=1000, description="Gradients taken along the way.")


def integrated_gradients(base: Base, options: IntegratedGradientsOptions) -> MethodRun:
    """Σ_c (x − x′) ⊙ ∫₀¹ ∂y(x′ + α(x − x′))/∂x dα, float32 [H, W] of the model's input, signed.

    Sundararajan et al. 2017, "Axiomatic attribution for deep networks", equation 1; y is
    the target's value, a logit, and the baseline x′ is the request's fill. The attributions
    sum to y(x) − y(x′) (completeness) as closely as the steps follow the integral.
    Departures: the integral is a Gauss–Legendre sum, which needs fewer steps than the
    paper's Riemann sum; the channels of a pixel are added up.
    """
    difference = base.image - base.fill
    places, shares = np.polynomial.legendre.leggauss(options.steps)
    total, weight = np.zeros(difference.shape), 0.0
    for step, (place, share) in enumerate(zip((places + 1) / 2, shares / 2, strict=True), 1):
        image = base.fill + np.float32(place) * difference
        total += share * (yield from image_gradient(image))
        weight += share
        if step % PARTIAL_EVERY == 0 and step < options.steps:
            yield Partial(_attributions(difference, total / weight), "", step / options.steps)
    return Outcome(_attributions(difference, total), signed=True)


def integrated_gradients_rows(
    extent: Extent,  # noqa: ARG001
    options: IntegratedGradientsOptions,
) -> int:
    """A gradient a step."""
    return options.steps


PARTIAL_EVERY = 5
"""Steps between partial maps."""


def _attributions(difference: NDArray[np.float32], mean_gradient: NDArray[np.float64]) -> FloatMap:
    """(x − x′) ⊙ gradient, the channels added up, float32 [H, W]."""
    return np.asarray((difference * mean_gradient).sum(axis=0), np.float32)
