"""CAM: each channel weighs what the last layer, which is linear, makes of it."""

from functools import lru_cache

import numpy as np
from pydantic import Field

from salience_service.methods.asking import scored
from salience_service.methods.channels import positive_sum, weighted_sum
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, ChannelRows, FloatMap, MethodRun, Outcome
from salience_service.methods.single_channels import EachAlone, among, shown_channels


class CamOptions(Options):
    """Whether evidence against the target is cut off."""

    relu: bool = Field(
        False, description="Cut negative values off; false keeps them, as evidence against."
    )


def cam(base: Base, options: CamOptions) -> MethodRun:
    """Σ_k w_k A_k, float32 [h, w], signed; w are the target's weights in the last layer.

    Zhou et al. 2016, "Learning deep features for discriminative localization",
    equation 2, which has no relu; torch-cam writes one into its formula and computes
    none. Departure: the weights are not read, but asked for. Where the logits are
    b + W · mean(A), a tap of ones in channel k and zeros elsewhere scores b + w_k, and
    one of zeros b: the difference is w_k to float32 rounding, for a target that is
    a difference or an absence too. A channel that the image leaves at zero everywhere is not
    asked for: no map shows it.
    """
    features = base.features[base.tap]
    channels, shown = len(features), shown_channels(features)
    rows = ChannelRows(
        base.tap, EachAlone(channels, shown), _ones(features.shape), spared=channels - len(shown)
    )
    scores = yield from scored(rows, base.target.value)
    combine = positive_sum if options.relu else weighted_sum
    image_map = combine(among(channels, shown, scores[1:] - scores[0]), features).astype(np.float32)
    return Outcome(image_map, signed=not options.relu)


@lru_cache(maxsize=64)
def _ones(shape: tuple[int, ...]) -> FloatMap:
    """One array a shape, so that targets share their rows; a view of one number."""
    return np.broadcast_to(np.float32(1), shape)
