"""HiResCAM: the gradient to every element of the tap weighs that element itself."""

import numpy as np
from pydantic import Field

from salience_service.methods.gradients.evidence import EvidenceOptions, evidence
from salience_service.methods.gradients.tap_maps import Map64, tap_maps
from salience_service.methods.probe import Base, FloatMap, MethodRun


class HiResCamOptions(EvidenceOptions):
    """Whether evidence against the target is kept, and how taps are fused."""

    relu: bool = Field(
        False, description="Cut negative values off; false keeps them, as evidence against."
    )


def hires_cam(base: Base, options: HiResCamOptions) -> MethodRun:
    """Σ_k ∂y/∂A_k ⊙ A_k, float32 [h, w], signed.

    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks"; y is the target's value, a logit. As in the authors'
    own code nothing is cut off; `relu` does it, as most other codes do. Departures: none
    for one tap; several are fused as `fusion` says.
    """
    maps = yield from tap_maps(base, elementwise)
    return evidence(maps, options, base)


def elementwise(features: FloatMap, gradient: FloatMap) -> Map64:
    """Σ_k g_k ⊙ A_k, summed in float64."""
    image_map: Map64 = np.multiply(gradient, features, dtype=np.float64).sum(axis=0)
    return image_map
