"""Guided Grad-CAM: the fine detail of guided backpropagation where Grad-CAM sees the target."""

import numpy as np

from salience_service.interpolation import upsample
from salience_service.methods.asking import image_climbed, tap_gradients
from salience_service.methods.gradients.colours import chosen, over_colours
from salience_service.methods.gradients.grad_cam import averaged
from salience_service.methods.gradients.gradient import GradientOptions
from salience_service.methods.method import Extent
from salience_service.methods.probe import Base, Gradients, MethodRun, Outcome


def guided_grad_cam(base: Base, options: GradientOptions) -> MethodRun:
    """max_c |R_c ⊙ up(L)|, float32 [H, W] of the model's input.

    Selvaraju et al. 2017, "Grad-CAM", §3.2: L = relu(Σ_k α_k A_k) is Grad-CAM's map of the
    tap, from the true gradient, upsampled bilinearly; R is guided backpropagation. The
    paper draws the product in colours: how they become one number is our choice, that of
    `gradient`. Caution: what is fine in it comes from R, and hardly depends on the
    network's upper layers (Adebayo et al. 2018, "Sanity checks for saliency maps"); the map is
    flagged so. Departures: none beside.
    """
    gradients = yield from tap_gradients(base.image, (base.tap,))
    coarse = np.maximum(averaged(base.features[base.tap], gradients[base.tap]), 0)
    _, guided = yield from image_climbed(Gradients(base.image, of_image=True, guided=True))
    product = guided * upsample(coarse.astype(np.float32), base.height, base.width)
    image_map = over_colours(chosen(product, options.values), options.reduction)
    return Outcome(image_map, signed=options.values == "signed")


def guided_grad_cam_rows(extent: Extent, options: GradientOptions) -> int:  # noqa: ARG001
    """Two gradients: the true one to the tap, the guided one to the image."""
    return 2
