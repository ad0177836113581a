"""Smooth Grad-CAM++: Grad-CAM++ with powers of the gradient averaged over noisy images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from salience_service.methods.asking import tap_gradients
from salience_service.methods.channels import positive_sum
from salience_service.methods.gradients.fusion import FUSION, Fusion, fused
from salience_service.methods.gradients.grad_cam_plus_plus import (
    grad_cam_plus_plus_working,
    quotient,
)
from salience_service.methods.gradients.noise import SEED, noisy
from salience_service.methods.gradients.tap_maps import Map64
from salience_service.methods.method import Extent
from salience_service.methods.options import Options, Seed
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome, Partial


class SmoothGradCamPlusPlusOptions(Options):
    """How many noisy images, how noisy, whose gradient weighs, how taps are fused."""

    samples: int = Field(4, ge=1, le=1000, description="Noisy images.")
    sigma: float = Field(
        0.3, ge=0, le=100, description="Deviation of the noise, in the model's own numbers."
    )
    seed: Seed = SEED
    gradient: Literal["last", "mean"] = Field(
        "last",
        description="Which gradient α weighs: that of the last noisy image, as torch-cam, "
        "whose maps were published, or the mean of all.",
    )
    epsilon: float = Field(1e-8, ge=0, le=1, description="Added to the denominator of α.")
    fusion: Fusion = Field("mean", description=FUSION)


def smooth_grad_cam_plus_plus(base: Base, options: SmoothGradCamPlusPlusOptions) -> MethodRun:
    """relu(Σ_k w_k A_k) with w_k = Σ_ij α_k,ij relu(g_k,ij), float32 [h, w].

    α_k = D² / (2D² + Σ_ab A_k,ab D³_k,ab + ε) with D² and D³ the means of g² and g³ over
    n noisy images, g = ∂y/∂A_k, A of the clean one. Omeiza et al. 2019, "Smooth
    Grad-CAM++"; y is the target's value, a logit. Departures, all torch-cam's, whose maps
    others compare with: D² above the line where the paper prints D¹, and g of the last
    noisy image alone unless `gradient=mean`. torch-cam itself also draws A of the last noisy
    image: here it is the clean one's, as the paper says.
    """
    powers = {tap: _Powers(A) for tap, A in base.features.items()}
    for sample in range(options.samples):
        image = noisy(base.image, options.sigma, options.seed, sample)
        gradients = yield from tap_gradients(image, tuple(base.features))
        for tap, gradient in gradients.items():
            powers[tap].add(gradient.astype(np.float64))
        image_map = _map(powers, options, base)
        if sample + 1 < options.samples:
            tap = base.tap if len(base.features) == 1 else ""
            yield Partial(image_map, tap, (sample + 1) / options.samples)
    return Outcome(image_map)


def smooth_grad_cam_plus_plus_working(extent: Extent, options: SmoothGradCamPlusPlusOptions) -> int:
    """The sums of all taps, beside what α of one is made of."""
    return 4 * sum(extent.features) + grad_cam_plus_plus_working(extent, options)


@dataclass
class _Powers:
    """Sums over noisy images of a tap's g, g² and g³, and the last g, float64 [K, h, w]."""

    features: FloatMap

    def __post_init__(self) -> None:
        self.count = 0
        self.first, self.second, self.third = np.zeros((3, *self.features.shape))
        self.last = self.first

    def add(self, gradient: Map64) -> None:
        """Takes the gradient of one more noisy image in."""
        self.count += 1
        self.first += gradient
        self.second += gradient**2
        self.third += gradient**3
        self.last = gradient

    def weights(self, options: SmoothGradCamPlusPlusOptions) -> Map64:
        """w of the noisy images so far, float64 [K]."""
        second, third = self.second / self.count, self.third / self.count
        totals = (self.features * third).sum(axis=(1, 2), keepdims=True)
        shares = quotient(second, 2 * second + totals + options.epsilon)
        gradient = self.last if options.gradient == "last" else self.first / self.count
        weights: Map64 = (shares * np.maximum(gradient, 0)).sum(axis=(1, 2))
        return weights


def _map(
    powers: Mapping[str, _Powers], options: SmoothGradCamPlusPlusOptions, base: Base
) -> FloatMap:
    """The map of the noisy images so far."""
    maps = [positive_sum(powers[tap].weights(options), A) for tap, A in base.features.items()]
    return fused(maps, options.fusion, base)
