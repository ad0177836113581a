"""Extremal perturbation: of all smooth masks of a given area, the one that serves a target best."""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from salience_service.methods.asking import image_climbed
from salience_service.methods.method import Extent
from salience_service.methods.optimised.perturbation import LEVELS, Kind, Perturbation, perturbation
from salience_service.methods.optimised.smooth_mask import SmoothMask
from salience_service.methods.options import Options
from salience_service.methods.probe import (
    Answer,
    Base,
    FloatMap,
    Gradients,
    MethodRun,
    Outcome,
    Partial,
    Probe,
)

MAX_AREAS = 8
_COLOURS = 3


class ExtremalPerturbationOptions(Options):
    """Which areas, how long to climb, and what stands for hidden."""

    areas: str = Field(
        "0.1",
        max_length=200,
        description="1 to 8 areas of masks, each a share above 0 and below 1 of the image with "
        "a margin of 15 to 21 pixels; with commas between, as 0.05,0.1,0.2.",
    )
    iterations: int = Field(800, ge=1, le=2000, description="Steps of each area's mask.")
    perturbation: Kind = Field(
        "blur",
        description="What hides: a Gaussian blur, the stronger the less the mask (blur), "
        "or the request's fill (fade).",
    )

    @field_validator("areas")
    @classmethod
    def _known(cls, areas: str) -> str:
        if not 1 <= len(shares(areas)) <= MAX_AREAS:
            raise ValueError("too many areas")
        if not all(0 < area < 1 for area in shares(areas)):
            raise ValueError("an area is a share of the image")
        return areas


def shares(areas: str) -> tuple[float, ...]:
    """The areas that a text names.

    Raises:
        ValueError: a part of it is no number.
    """
    return tuple(float(part) for part in areas.split(","))


def extremal_perturbation(base: Base, options: ExtremalPerturbationOptions) -> MethodRun:
    """argmax_m y(m ⊗ x) − λ_t ‖sort(m) − r_a‖² / |m| over smooth masks m, float32 [H, W] in [0, 1].

    Fong et al. 2019, "Understanding deep networks via extremal perturbations and smooth
    masks", with the settings of their TorchRay: y the target's value, a logit; m drawn of
    cells every 7 pixels (`SmoothMask`), which start at one and stay in [0, 1]; m ⊗ x a
    blur of up to 20 pixels in 8 levels (`Perturbation`); r_a zeros but for the greatest
    share a, margins included, which are one; λ_t = 300 · 1.0035^t; gradient
    descent of rate 0.01, with 0.9 for momentum and dampening; at every other step the
    network sees the mirrored image; the map is the mask at the last step. Nothing is
    drawn by chance.

    Several areas: the mean of their masks. TorchRay leaves them to the caller, and its
    own benchmark adds them up; the mean is that sum in [0, 1], equal after min–max.
    Departures: beyond the image's border, a blur sees the fill where TorchRay sees the
    model's zero; fade goes to the fill where TorchRay goes to zero. Both are the same where
    the fill is the model's mean.
    """
    areas = shares(options.areas)
    total = np.zeros((base.height, base.width), np.float32)
    levels = perturbation(base, options.perturbation)
    for place, area in enumerate(areas):
        told = _Told(total, place, len(areas), options.iterations)
        total = total + (yield from _mask(base, levels, area, told))
    return Outcome(total / np.float32(len(areas)), iterations=options.iterations)


def extremal_perturbation_rows(extent: Extent, options: ExtremalPerturbationOptions) -> int:  # noqa: ARG001
    """One gradient a step and area."""
    return options.iterations * len(shares(options.areas))


def extremal_perturbation_working(extent: Extent, options: ExtremalPerturbationOptions) -> int:  # noqa: ARG001
    """The levels of a colour image, whose float32 are half a double each."""
    return LEVELS // 2 * _COLOURS * extent.height * extent.width


LEARNING_RATE = 0.01
MOMENTUM = 0.9
AREA_WEIGHT = 300.0
"""Of the area's loss at the first step."""
GROWTH = 1.0035
"""Of that weight, from step to step."""
PARTIAL_EVERY = 10
"""Steps between partial maps."""


class _Told(NamedTuple):
    """What partial maps need: the masks before this one, its place, the areas, the steps."""

    before: FloatMap
    place: int
    areas: int
    iterations: int

    def partial(self, mask: FloatMap, step: int) -> Partial:
        """The mean of the masks so far."""
        done = (self.place + step / self.iterations) / self.areas
        return Partial((self.before + mask) / np.float32(self.place + 1), "", done)


def _mask(
    base: Base, levels: Perturbation, area: float, told: _Told
) -> Generator[Probe, Answer, FloatMap]:
    """The mask of one area, float32 [H, W]."""
    smooth = SmoothMask(base.height, base.width)
    cells = np.ones(smooth.cells, np.float32)
    velocity: NDArray[np.float32] | None = None
    for step in range(told.iterations):
        mask = smooth.draw(cells)
        shown = smooth.shown(mask)
        if step % PARTIAL_EVERY == 0:
            yield told.partial(shown, step)
        rising = -AREA_WEIGHT * GROWTH**step * area_gradient(mask, area)
        smooth.shown(rising)[:] += yield from _reward_gradient(
            levels, shown, mirrored=step % 2 == 0
        )
        gradient = smooth.back(cells, mask, rising)
        # The first step is whole: so torch's momentum begins.
        velocity = gradient if velocity is None else MOMENTUM * velocity + (1 - MOMENTUM) * gradient
        cells = np.clip(cells + LEARNING_RATE * velocity, 0, 1)
    return shown


def area_gradient(mask: FloatMap, area: float) -> FloatMap:
    """d/dm of mean((sort(m) − r)²), of the mask's shape; r is 1 for its greatest share `area`.

    Equal pixels keep their order, from the top left on, as torch's sort has it; nearly equal
    ones are ranked by their float32 bits, where float64 may rank them otherwise.
    """
    flat = mask.ravel()
    wanted = np.zeros(flat.size, np.float32)
    order = np.argsort(flat, kind="stable")
    wanted[order[int(flat.size * (1 - area)) :]] = 1
    gradient: FloatMap = (2 / flat.size * (flat - wanted)).astype(np.float32)
    return gradient.reshape(mask.shape)


def _reward_gradient(
    levels: Perturbation, mask: FloatMap, mirrored: bool
) -> Generator[Probe, Answer, FloatMap]:
    """d/dm of the target's value of the image under a mask [H, W]."""
    turn = -1 if mirrored else 1
    image = np.ascontiguousarray(levels.apply(mask)[..., ::turn])
    _, gradient = yield from image_climbed(Gradients(image, of_image=True))
    return levels.back(mask, gradient[..., ::turn])
