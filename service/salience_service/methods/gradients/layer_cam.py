"""Layer-CAM: the positive gradient to every element of the tap weighs that element itself."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from salience_service.interpolation import unit_range
from salience_service.methods.gradients.fusion import FUSION, Fusion, combined
from salience_service.methods.gradients.tap_maps import Map64, tap_maps
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome


class LayerCamOptions(Options):
    """How the maps of several taps are scaled and fused; of one tap none of it matters."""

    fusion: Fusion = Field("max", description=FUSION)
    scaled_taps: int = Field(
        3,
        ge=0,
        le=64,
        description="How many of the finest taps are scaled by tanh(gamma · map) before they "
        "are fused: 3 in Poly-CAM's comparison, all (64) in torch-cam, none in pytorch-grad-cam.",
    )
    gamma: float = Field(
        2.0, ge=0.01, le=100, description="How strongly tanh lifts low values of scaled maps."
    )


def layer_cam(base: Base, options: LayerCamOptions) -> MethodRun:
    """relu(Σ_k relu(∂y/∂A_k) ⊙ A_k), float32 [h, w]; of several taps one map, [H, W].

    Jiang et al. 2021, "LayerCAM: exploring hierarchical class activation maps for
    localization"; y is the target's value, a logit. Fusion: each map is min–maxed, those
    of the finest `scaled_taps` taps become tanh(γ map) (equation 9), all are upsampled to the
    model's input, and the greatest counts. Departures: equation 9 divides by the maximum
    alone; min–max, as in torch-cam, differs where a map is nowhere zero.
    """
    maps = yield from tap_maps(base, elementwise_positive)
    if len(maps) == 1:
        return Outcome(maps[0].astype(np.float32))
    return Outcome(combined(_scaled(maps, options), options.fusion, base))


def elementwise_positive(features: FloatMap, gradient: FloatMap) -> Map64:
    """relu(Σ_k relu(g_k) ⊙ A_k), summed in float64."""
    products = np.multiply(np.maximum(gradient, 0), features, dtype=np.float64)
    image_map: Map64 = np.maximum(products.sum(axis=0), 0)
    return image_map


def _scaled(maps: Sequence[Map64], options: LayerCamOptions) -> list[FloatMap]:
    """Min–maxed maps, coarse to fine, the finest of them lifted."""
    unit = [unit_range(each.astype(np.float32)) for each in maps]
    coarse = max(len(unit) - options.scaled_taps, 0)
    return unit[:coarse] + [np.tanh(np.float32(options.gamma) * each) for each in unit[coarse:]]
