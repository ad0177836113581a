"""Ablation-CAM: each channel weighs what the target loses when it is set to zero."""

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.asking import finite, scored
from salience_service.methods.channels import Weights, positive_sum
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, ChannelRows, FloatMap, MethodRun, Outcome, Partial
from salience_service.methods.single_channels import AllButEach, among, shown_channels

FLOOR = 1e-8
"""Added to |y|, so that a target of value zero can be explained."""


class AblationCamOptions(Options):
    """Ablation-CAM has no options."""


def ablation_cam(base: Base, options: AblationCamOptions) -> MethodRun:  # noqa: ARG001
    """relu(Σ_k w_k A_k), float32 [h, w], with w_k = (y − y_k) / (|y| + 1e-8).

    Desai and Ramaswamy 2020, "Ablation-CAM: visual explanations
    for deep convolutional network via gradient-free localization"; y_k is the target's
    value, a logit, with channel k of the tap set to zero. Only the network after the
    tap runs. y is scored in the same rows, so that rounding cancels. A channel that is zero
    everywhere is not asked for: no map shows it, whatever it weighs.

    Departures: |y| where the paper has y, since a negative value would turn every
    weight round. A channel is always set to zero, as in the paper; pytorch-grad-cam
    does so only where the tap's least value is zero, and else takes 1e7 off it.
    """
    features = base.features[base.tap]
    channels, shown = len(features), shown_channels(features)

    def image_map(values: Weights) -> FloatMap:
        weights = among(channels, shown, _weights(values))
        return positive_sum(weights, features).astype(np.float32)

    def drawn(logits: NDArray[np.float32]) -> Partial:
        values = finite(base.target.value(logits))
        return Partial(image_map(values), base.tap, len(logits) / (1 + len(shown)))

    kept = AllButEach(channels, shown)
    rows = ChannelRows(base.tap, kept, preview=drawn, spared=channels - len(shown))
    return Outcome(image_map((yield from scored(rows, base.target.value))))


def _weights(values: Weights) -> Weights:
    """w_k, float64 [n], of y and y_k, [1 + n]."""
    weights: Weights = (values[0] - values[1:]) / (abs(values[0]) + FLOOR)
    return weights
