"""IS-CAM: Score-CAM whose masks are faded in, step by step."""

from functools import partial

import numpy as np
from pydantic import Field

from salience_service.methods.method import Extent
from salience_service.methods.probe import Base, FloatMap, MethodRun, RowProbe, Rows
from salience_service.methods.rows.passes import Preview, averaged
from salience_service.methods.rows.scoring import ScoringOptions


class IsCamOptions(ScoringOptions):
    """How many steps, and how far they go."""

    steps: int = Field(10, ge=1, le=200, description="Steps N from the fill to the mask.")
    accumulate: bool = Field(
        False,
        description="Step i multiplies the mask by 1/N + … + i/N, as torch-cam does, "
        "up to (N + 1)/2 times; false: by i/N.",
    )


def is_cam(base: Base, options: IsCamOptions) -> MethodRun:
    """relu(Σ_k w_k A_k), float32 [h, w], with w from mean_i f(α_i · n(up(A_k)) ⊙ x), α_i = i/N.

    Naidu et al. 2020, "IS-CAM: integrated Score-CAM for axiomatic-based explanations".
    The score of the empty image is left out, as in Score-CAM. Departure of `accumulate`
    (torch-cam's): α_i is the running sum of i/N, so that late masks over-expose the image.
    """
    features = base.features[base.tap]
    steps = [partial(_faded, features, alpha) for alpha in _alphas(options)]
    return (yield from averaged(base, options, steps))


def is_cam_rows(extent: Extent, options: IsCamOptions) -> int:
    """One row a channel and step."""
    return sum(extent.channels) * options.steps


def _alphas(options: IsCamOptions) -> list[float]:
    shares = np.arange(1, options.steps + 1) / options.steps
    alphas: list[float] = (np.cumsum(shares) if options.accumulate else shares).tolist()
    return alphas


def _faded(features: FloatMap, alpha: float, preview: Preview | None) -> RowProbe:
    return Rows(features, scale=alpha, preview=preview)
