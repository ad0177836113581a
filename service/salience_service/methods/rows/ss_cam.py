"""SS-CAM: Score-CAM whose scores are means over noisy masks."""

from functools import partial
from typing import Literal

from pydantic import Field

from salience_service.methods.method import Extent
from salience_service.methods.options import Seed
from salience_service.methods.probe import Base, MethodRun, PixelRows, RowProbe
from salience_service.methods.rows.noisy_masks import Noise, NoisyMasks
from salience_service.methods.rows.passes import Preview, averaged
from salience_service.methods.rows.scoring import ScoringOptions


class SsCamOptions(ScoringOptions):
    """How much noise, how often, and of which seed."""

    samples: int = Field(35, ge=1, le=500, description="Noisy masks of a channel.")
    sigma: float = Field(
        2.0, ge=0, le=100, description="Standard deviation of the noise; masks go from 0 to 1."
    )
    noise: Literal["channel", "shared"] = Field(
        "channel",
        description="Each channel has noise of its own, as in torch-cam today, or all channels "
        "share that of a sample, as in torch-cam until 2021.",
    )
    seed: Seed = Field(0, description="The same seed draws the same noise.")


def ss_cam(base: Base, options: SsCamOptions) -> MethodRun:
    """relu(Σ_k w_k A_k), float32 [h, w], with w from mean_i f((n(up(A_k)) + ε_i) ⊙ x).

    Wang et al. 2020, "SS-CAM: smoothed Score-CAM for sharper visual feature
    localization", smoothing on feature maps; ε ~ N(0, σ²) for each pixel, added to the
    mask, which then leaves [0, 1] and is not clamped. The score of the empty image is
    left out, as in Score-CAM. Departure: noise=shared has one noise for all colours,
    where torch-cam of 2021 drew one for each.
    """
    samples = [partial(_noisy, base, options, sample) for sample in range(options.samples)]
    return (yield from averaged(base, options, samples))


def ss_cam_rows(extent: Extent, options: SsCamOptions) -> int:
    """One row a channel and sample."""
    return sum(extent.channels) * options.samples


def _noisy(base: Base, options: SsCamOptions, sample: int, preview: Preview | None) -> RowProbe:
    """The rows of one sample."""
    noise = Noise(options.sigma, options.seed, sample, options.noise == "shared")
    masks = NoisyMasks(base.features[base.tap], base.height, base.width, noise)
    return PixelRows(masks, preview=preview)
