"""XGrad-CAM: each channel weighs its gradients' mean, each place as strong as it is active."""

import numpy as np
from pydantic import Field

from salience_service.methods.channels import weighted_sum
from salience_service.methods.gradients.evidence import EvidenceOptions, evidence
from salience_service.methods.gradients.tap_maps import Map64, tap_maps
from salience_service.methods.probe import Base, FloatMap, MethodRun


class XGradCamOptions(EvidenceOptions):
    """What keeps the division from zero, whether evidence against is kept, how taps are fused."""

    epsilon: float = Field(
        1e-7,
        ge=0,
        le=1,
        description="Added to the sum that is divided by: 1e-6 in the authors' code, "
        "1e-7 in pytorch-grad-cam, 1e-8 in torch-cam.",
    )


def x_grad_cam(base: Base, options: XGradCamOptions) -> MethodRun:
    """relu(Σ_k w_k A_k) with w_k = Σ_ij (∂y/∂A_k ⊙ A_k) / (Σ_ij A_k + ε), float32 [h, w].

    Fu et al. 2020, "Axiom-based Grad-CAM"; y is the target's value, a logit. A channel whose
    divisor is exactly zero weighs nothing. Where Σ A_k is near zero, as it can be of a
    tap that is not rectified, the weights, and with them the map, are not stable.
    Departures: ε; several taps are fused as `fusion` says.
    """

    def made(features: FloatMap, gradient: FloatMap) -> Map64:
        return weighted_sum(_weights(features, gradient, options.epsilon), features)

    maps = yield from tap_maps(base, made)
    return evidence(maps, options, base)


def _weights(features: FloatMap, gradient: FloatMap, epsilon: float) -> Map64:
    """w, float64 [K]."""
    shares = np.multiply(gradient, features, dtype=np.float64).sum(axis=(1, 2))
    totals = features.sum(axis=(1, 2), dtype=np.float64) + epsilon
    weights: Map64 = np.divide(shares, totals, out=np.zeros_like(shares), where=totals != 0)
    return weights
