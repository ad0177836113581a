"""Poly-CAM: a coarse map, sharpened layer by layer with the maps of finer layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.errors import InvalidRequest
from salience_service.interpolation import FLAT, interpolation_matrix
from salience_service.methods.channels import Weights, positive_sum
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome, Partial, Series
from salience_service.methods.rows.confidence import Change, Confidence, rows_each
from salience_service.methods.rows.local_norm import (
    Map64,
    Matrix,
    local_norm,
    of_maximum_one,
    pooling_matrix,
    resampled,
)

LEAST = 2.0**-100
"""Least scale of a map that is handed out: far enough inside float32 that the map keeps its
digits. A target's probability may be less, and its power of as many layers as there are."""


class PolyCamOptions(Options):
    """How channels are weighed, whose normalisation is used, and whether LNorm is."""

    weights: Change = Field(
        "plus-minus",
        description="A channel weighs what showing it gains (plus, PCAM+), "
        "what hiding it loses (minus, PCAM-), or both (plus-minus, PCAM±).",
    )
    variant: Literal["paper", "code"] = Field(
        "paper", description="The paper's equations, or the choices of the authors' published code."
    )
    local_norm: bool = Field(
        True, description="Divide finer layers by their local mean; off is the paper's ablation."
    )


def poly_cam(base: Base, options: PolyCamOptions) -> MethodRun:
    """P_1 of equation 3, float32 [h, w] of the finest tap; each P_l on the way is a partial map.

    Englebert et al. 2022, "Poly-CAM", equations 1 and 3 to 6. Only the coarsest layer
    is also drawn while it grows: behind it a half-weighed layer would be a step back.
    What `variant=code` changes is said at `CODE`. A map whose scale is below `LEAST` is
    handed out at that scale.
    """
    variant = PAPER if options.variant == "paper" else CODE
    channels = [len(features) for features in base.features.values()]
    rows = _rows(channels, options)
    saliency: Map64 | None = None
    scale = 1.0
    for place, (tap, features) in enumerate(base.features.items()):
        draw = _drawing(base, variant, rows) if place == 0 else None
        weighing = Confidence(
            base, variant.masks(features), variant.normalise, options.weights, draw
        )
        layer = positive_sum((yield from weighing.weights()), features)
        if saliency is None:
            saliency, scale = of_maximum_one(layer)
        else:
            saliency, factor = _refined(layer, saliency, options, variant)
            scale *= factor
        finished = variant.finished(saliency, scale)
        yield Partial(finished, tap, sum(channels[: place + 1]) / sum(channels))
    return Outcome(finished)


def poly_cam_rows(extent: Extent, options: PolyCamOptions) -> int:
    """One row a channel, shown or hidden; two for plus-minus.

    Raises:
        InvalidRequest: two taps have one size, and LNorm, which would make ones of the later.
    """
    if options.local_norm and len(set(extent.sizes)) < len(extent.sizes):
        raise InvalidRequest(
            "two of the taps have one size, where a map divided by its local mean is 1 everywhere: "
            "name one of them, or local_norm=false"
        )
    return _rows(extent.channels, options)


def _rows(channels: Sequence[int], options: PolyCamOptions) -> int:
    return sum(channels) * rows_each(options.weights)


def clipped(maps: NDArray[np.floating]) -> FloatMap:
    """u(·) of the authors' code: (x − P0.1) / P99.9, held in [0, 1]; float32 [..., h, w].

    The divisor is the upper percentile itself, not the range, and at least 1e-12: a
    map with negative values saturates (half of one symmetric about zero does). A map
    that is flat but for rounding becomes zeros: left in, its rounding would be min–maxed
    into a picture.
    """
    low, high = np.percentile(maps, (0.1, 99.9), axis=(-2, -1), keepdims=True)
    flat = high - low <= FLAT * np.maximum(np.abs(low), np.abs(high))
    share = np.where(flat, 0, np.clip((maps - low) / np.maximum(high, 1e-12), 0, 1))
    return np.asarray(share, np.float32)


@dataclass(frozen=True, eq=False)
class ClippedMasks:
    """u(A_k) of the authors' code, float32 [K, h, w]; equal to others of the same array of
    features, so that all targets share their rows.

    Attributes:
        features: A, float32 [K, h, w].
    """

    features: FloatMap

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClippedMasks) and self.features is other.features

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        """[K, h, w]."""
        return self.features.shape

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Masks of channels start to stop."""
        return clipped(self.features[part])


@dataclass(frozen=True)
class _Variant:
    """What paper and code do differently.

    Attributes:
        masks: features [K, h, w] to the maps that are sent as masks.
        normalise: whether masks are min–maxed after upsampling.
        coarsen: how LNorm comes down to the coarser size, as `local_norm` takes it.
        finished: P_l, float64, as a map and what it is to be multiplied by, to the map that
            is handed out, float32.
    """

    masks: Callable[[FloatMap], Series]
    normalise: bool
    coarsen: Callable[[int, int], Matrix]
    finished: Callable[[Map64, float], FloatMap]


PAPER = _Variant(
    masks=lambda features: features,
    normalise=True,
    coarsen=pooling_matrix,
    finished=lambda saliency, scale: (saliency * max(scale, LEAST)).astype(np.float32),
)
"""u(up(A)) with u = min–max; LNorm by average pooling; P_l as it is."""

CODE = _Variant(
    masks=ClippedMasks,
    normalise=False,
    coarsen=interpolation_matrix,
    finished=lambda saliency, _: clipped(saliency),
)
"""up(u(A)) with u = `clipped`; LNorm by bilinear reduction; u(P_l). Their nansum is a sum
here: nothing in it can be NaN. Their floors are absolute, and here of P_l without its scale:
theirs show a target of small probability another map."""


def _drawing(base: Base, variant: _Variant, rows: int) -> Callable[[Weights, int], Partial]:
    """Draws P_L from weights and the rows behind them, of all `rows`."""
    tap, features = next(iter(base.features.items()))

    def drawn(weights: Weights, done: int) -> Partial:
        coarsest = of_maximum_one(positive_sum(weights, features))
        return Partial(variant.finished(*coarsest), tap, done / rows)

    return drawn


def _refined(
    layer: Map64, coarser: Map64, options: PolyCamOptions, variant: _Variant
) -> tuple[Map64, float]:
    """P_l = LNorm(layer) ⊙ up(P_{l+1}) (equation 3; equation 7 without LNorm), and a factor.

    The factor is kept apart, as the scale of `coarser` is: their product may be less than any
    number but zero.
    """
    if options.local_norm:
        shape = (coarser.shape[0], coarser.shape[1])
        layer, factor = local_norm(layer, shape, variant.coarsen), 1.0
    else:
        layer, factor = of_maximum_one(layer)
    return layer * resampled(coarser, (layer.shape[0], layer.shape[1])), factor
