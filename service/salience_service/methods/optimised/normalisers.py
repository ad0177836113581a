"""Normalisers: how Opti-CAM makes a map a mask, with the masked image's value and gradient."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import upsample, upsample_back
from salience_service.methods.asking import climbed, image_climbed
from salience_service.methods.probe import (
    Answer,
    Base,
    FloatMap,
    Gradients,
    MapGradient,
    MapGradientAnswer,
    Probe,
)

Normaliser = Literal["range", "max", "sigmoid"]


@dataclass(frozen=True)
class Side:
    """Which side of a map is shown: the mask is scale · n(up(map)) + shift."""

    scale: float
    shift: float


INSIDE = Side(1, 0)
OUTSIDE = Side(-1, 1)

Shown = Callable[[FloatMap, Side], Generator[Probe, Answer, MapGradientAnswer]]
"""Takes a map S to the target's value y of the masked image, and dy/dS."""


def by_range(base: Base) -> Shown:  # noqa: ARG001
    """n(S) = (S − min S) / (max S − min S), Opti-CAM's equation 16; the graph does it."""
    return lambda image_map, side: climbed(
        MapGradient(image_map, scale=side.scale, shift=side.shift)
    )


def by_maximum(base: Base) -> Shown:
    """n(S) = S / max S of the upsampled map, Opti-CAM's equation 17.

    The graph is asked with the maximum M held, and gives dy/dS at that; M moves too:
    dy/dM = −⟨dy/dS, S⟩ / M, shared evenly among the pixels where up(S) is M. The paper
    has no map without a positive value: it hides all here, and ends the climb, as a flat one.
    """

    def shown(image_map: FloatMap, side: Side) -> Generator[Probe, Answer, MapGradientAnswer]:
        up = upsample(image_map, base.height, base.width)
        greatest = float(up.max())
        factor = side.scale / greatest if greatest > 0 else 0.0
        held = yield from climbed(
            MapGradient(image_map, normalise=False, scale=factor, shift=side.shift)
        )
        if factor == 0:
            return held
        moves = -np.vdot(held.gradient.astype(np.float64), image_map) / greatest
        peaks = np.asarray(up == greatest, np.float32)
        shared = upsample_back(peaks / peaks.sum(), *image_map.shape)
        return MapGradientAnswer(held.value, held.gradient + np.float32(moves) * shared)

    return shown


def by_sigmoid(base: Base) -> Shown:
    """n(S) = 1 / (1 + e^−S) of the upsampled map, Opti-CAM's equation 18.

    No graph has it: the masked image is made here, and dy/dS follows from dy/dx.
    """
    difference = base.image - base.fill

    def shown(image_map: FloatMap, side: Side) -> Generator[Probe, Answer, MapGradientAnswer]:
        unit = logistic(upsample(image_map, base.height, base.width))
        mask = np.float32(side.scale) * unit + np.float32(side.shift)
        row = base.fill + mask * difference
        value, to_image = yield from image_climbed(Gradients(row, of_image=True))
        to_mask = (to_image * difference).sum(axis=0)
        to_up = to_mask * np.float32(side.scale) * unit * (1 - unit)
        return MapGradientAnswer(value, upsample_back(to_up, *image_map.shape))

    return shown


def logistic(numbers: FloatMap) -> NDArray[np.float32]:
    """1 / (1 + e^−x), which overflows nowhere."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * numbers)), np.float32)


NORMALISERS: Mapping[Normaliser, Callable[[Base], Shown]] = MappingProxyType(
    {"range": by_range, "max": by_maximum, "sigmoid": by_sigmoid}
)
"""Each by its name in a request."""
