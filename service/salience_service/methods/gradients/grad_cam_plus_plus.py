"""Grad-CAM++: each channel weighs its positive gradients, each by how much it could add."""

import numpy as np
from pydantic import Field

from salience_service.methods.channels import positive_sum
from salience_service.methods.gradients.fusion import FUSION, Fusion, fused
from salience_service.methods.gradients.tap_maps import Map64, tap_maps
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome


class GradCamPlusPlusOptions(Options):
    """What keeps the division from zero, and how taps are fused."""

    epsilon: float = Field(
        1e-6,
        ge=0,
        le=1,
        description="Added to the denominator of α; 1e-6 as in pytorch-grad-cam outweighs the "
        "rest of it where gradients are below 1e-3.",
    )
    fusion: Fusion = Field("mean", description=FUSION)


def grad_cam_plus_plus(base: Base, options: GradCamPlusPlusOptions) -> MethodRun:
    """relu(Σ_k w_k A_k) with w_k = Σ_ij α_k,ij relu(g_k,ij), float32 [h, w].

    g = ∂y/∂A_k and α_k = g² / (2g² + (Σ_ab A_k,ab) g³ + ε), zero where g is.
    Chattopadhay et al. 2018, "Grad-CAM++", equations 7 and 19, with the powers of the
    first derivative that its exponential turns higher ones into; the factor exp(y), the same
    everywhere, is left out. y is the target's value, a logit. As pytorch-grad-cam does;
    torch-cam sums A ⊙ g³, which is not equation 19. Departures: ε; a denominator of
    exactly zero gives α = 0; several taps are fused as `fusion` says.
    """

    def made(features: FloatMap, gradient: FloatMap) -> Map64:
        weights = _weights(features, gradient.astype(np.float64), options.epsilon)
        return positive_sum(weights, features)

    maps = yield from tap_maps(base, made)
    return Outcome(fused(maps, options.fusion, base))


def grad_cam_plus_plus_working(extent: Extent, options: Options) -> int:  # noqa: ARG001
    """Powers of a tap's gradient, and what α is made of; one tap after the other."""
    return 7 * max(extent.features)


def _weights(features: FloatMap, gradient: Map64, epsilon: float) -> Map64:
    """w, float64 [K]."""
    totals = features.sum(axis=(1, 2), dtype=np.float64, keepdims=True)
    squares = gradient**2
    shares = quotient(squares, 2 * squares + totals * gradient**3 + epsilon)
    weights: Map64 = (shares * np.maximum(gradient, 0)).sum(axis=(1, 2))
    return weights


def quotient(above: Map64, below: Map64) -> Map64:
    """above / below, zero where below is zero."""
    found: Map64 = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    return found
