"""Grad-CAM: each channel weighs what the target's gradient to it is on average."""

import numpy as np
from pydantic import Field

from salience_service.methods.asking import tap_gradient
from salience_service.methods.channels import positive_sum, weighted_sum
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome


class GradCamOptions(Options):
    """Whether evidence against the target is kept."""

    relu: bool = Field(
        True, description="Cut negative values off; false keeps them, as evidence against."
    )


def grad_cam(base: Base, options: GradCamOptions) -> MethodRun:
    """relu(Σ_k α_k A_k) with α_k = mean_ij ∂y/∂A_k,ij, float32 [h, w].

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2; y is the target's value, a
    logit. Without the relu the map is signed. No departures.
    """
    features = base.features[base.tap]
    gradient = yield from tap_gradient(base, base.tap)
    weights = gradient.mean(axis=(1, 2), dtype=np.float64)
    combine = positive_sum if options.relu else weighted_sum
    return Outcome(combine(weights, features).astype(np.float32), signed=not options.relu)


def grad_cam_rows(channels: tuple[int, ...], options: GradCamOptions) -> int:  # noqa: ARG001
    """One gradient."""
    return 1
