"""Zoom-CAM: the greatest, over taps of all resolutions, of gradient times feature."""

import numpy as np

from salience_service.methods.gradients.fusion import fused
from salience_service.methods.gradients.hires_cam import elementwise
from salience_service.methods.gradients.tap_maps import tap_maps
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome


class ZoomCamOptions(Options):
    """Zoom-CAM has no options."""


def zoom_cam(base: Base, options: ZoomCamOptions) -> MethodRun:  # noqa: ARG001
    """max_l up(n(relu(Σ_k ∂y/∂A_l,k ⊙ A_l,k))), float32 [H, W] of the model's input.

    Shi et al. 2021, "Zoom-CAM: generating fine-grained pixel annotations from image labels";
    y is the target's value, a logit; n is min–max, up is bilinear. The paper takes every
    layer or block, here the taps asked for, by default the last of each resolution; of one
    tap the map stays as it is. Departures: the published code, which cannot run as it
    stands, subtracts the minimum and divides by the maximum of before, NaN where that is
    zero: here a flat map counts as zeros.
    """
    maps = yield from tap_maps(base, elementwise)
    return Outcome(fused([np.maximum(each, 0) for each in maps], "max", base))
