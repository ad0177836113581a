"""Objectives: what Opti-CAM climbs, made of the values that a map has as a mask."""

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from salience_service.methods.optimised.normalisers import INSIDE, OUTSIDE, Shown
from salience_service.methods.probe import Answer, FloatMap, MapGradientAnswer, Probe

Objective = Literal["mask", "diff", "iomask", "iodiff"]

Climbed = Callable[[FloatMap], Generator[Probe, Answer, MapGradientAnswer]]
"""Takes a map S to F and dF/dS."""


def mask(shown: Shown, clean: float) -> Climbed:  # noqa: ARG001
    """F = y(x ⊙ s), "Mask": the target's value of the masked image (Opti-CAM, equation 10)."""
    return lambda image_map: shown(image_map, INSIDE)


def diff(shown: Shown, clean: float) -> Climbed:
    """F = −|y(x) − y(x ⊙ s)|, "Diff": the mask changes nothing (Opti-CAM, equation 19)."""

    def climbed(image_map: FloatMap) -> Generator[Probe, Answer, MapGradientAnswer]:
        return _near(clean, (yield from shown(image_map, INSIDE)))

    return climbed


def io_mask(shown: Shown, clean: float) -> Climbed:  # noqa: ARG001
    """F = y(x ⊙ s) − y(x ⊙ (1 − s)), "IOMask" (Opti-CAM, equation F.1)."""

    def climbed(image_map: FloatMap) -> Generator[Probe, Answer, MapGradientAnswer]:
        inside = yield from shown(image_map, INSIDE)
        outside = yield from shown(image_map, OUTSIDE)
        return _less(inside, outside)

    return climbed


def io_diff(shown: Shown, clean: float) -> Climbed:
    """F = −|y(x) − y(x ⊙ s)| + |y(x) − y(x ⊙ (1 − s))|, "IODiff" (Opti-CAM, equation F.2)."""

    def climbed(image_map: FloatMap) -> Generator[Probe, Answer, MapGradientAnswer]:
        inside = yield from shown(image_map, INSIDE)
        outside = yield from shown(image_map, OUTSIDE)
        return _less(_near(clean, inside), _near(clean, outside))

    return climbed


def _near(clean: float, answer: MapGradientAnswer) -> MapGradientAnswer:
    """−|clean − value|, and its gradient."""
    apart = clean - answer.value
    return MapGradientAnswer(-abs(apart), np.float32(np.sign(apart)) * answer.gradient)


def _less(one: MapGradientAnswer, other: MapGradientAnswer) -> MapGradientAnswer:
    """One less the other, and its gradient."""
    return MapGradientAnswer(one.value - other.value, one.gradient - other.gradient)


OBJECTIVES: Mapping[Objective, Callable[[Shown, float], Climbed]] = MappingProxyType(
    {"mask": mask, "diff": diff, "iomask": io_mask, "iodiff": io_diff}
)
"""Each by its name in a request; it takes how a map is shown, and y(x)."""


def masks_each(objective: Objective) -> int:
    """Masks, and so gradients, that a map takes: its own, and in some its inverse."""
    return 2 if objective in ("iomask", "iodiff") else 1
