"""HiResCAM: the gradient to every element of the tap weighs that element itself."""

import numpy as np
from pydantic import Field

from salience_service.methods.asking import tap_gradient
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome


class HiResCamOptions(Options):
    """Whether evidence against the target is kept."""

    relu: bool = Field(
        False, description="Cut negative values off; false keeps them, as evidence against."
    )


def hires_cam(base: Base, options: HiResCamOptions) -> MethodRun:
    """Σ_k ∂y/∂A_k ⊙ A_k, float32 [h, w], signed.

    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks"; y is the target's value, a logit. As in the authors'
    own code nothing is cut off; `relu` does it, as most other codes do. No departures.
    """
    features = base.features[base.tap]
    gradient = yield from tap_gradient(base, base.tap)
    image_map = np.multiply(gradient, features, dtype=np.float64).sum(axis=0)
    kept = np.maximum(image_map, 0) if options.relu else image_map
    return Outcome(kept.astype(np.float32), signed=not options.relu)


def hires_cam_rows(channels: tuple[int, ...], options: HiResCamOptions) -> int:  # noqa: ARG001
    """One gradient."""
    return 1
