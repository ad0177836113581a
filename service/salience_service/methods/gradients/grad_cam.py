"""Grad-CAM: each channel weighs what the target's gradient to it is on average."""

import numpy as np
from pydantic import Field

from salience_service.methods.channels import weighted_sum
from salience_service.methods.gradients.evidence import EvidenceOptions, evidence
from salience_service.methods.gradients.tap_maps import Map64, tap_maps
from salience_service.methods.probe import Base, FloatMap, MethodRun


class GradCamOptions(EvidenceOptions):
    """Which gradients count, whether evidence against is kept, how taps are fused."""

    positive_gradients: bool = Field(
        False, description="Average only what is positive of the gradient, the rest as zero."
    )


def grad_cam(base: Base, options: GradCamOptions) -> MethodRun:
    """relu(Σ_k α_k A_k) with α_k = mean_ij ∂y/∂A_k,ij, float32 [h, w].

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2; y is the target's value, a
    logit. Without the relu the map is signed. With `positive_gradients` α_k is
    mean_ij relu(∂y/∂A_k,ij). Departures: none for one tap; several, which the paper does
    not know, are fused as `fusion` says, by default as pytorch-grad-cam does.
    """
    if options.positive_gradients:
        maps = yield from tap_maps(base, averaged_positive)
    else:
        maps = yield from tap_maps(base, averaged)
    return evidence(maps, options, base)


def averaged(features: FloatMap, gradient: FloatMap) -> Map64:
    """Σ_k mean_ij(g_k) A_k."""
    return weighted_sum(gradient.mean(axis=(1, 2), dtype=np.float64), features)


def averaged_positive(features: FloatMap, gradient: FloatMap) -> Map64:
    """Σ_k mean_ij(relu(g_k)) A_k."""
    return averaged(features, np.maximum(gradient, 0))
