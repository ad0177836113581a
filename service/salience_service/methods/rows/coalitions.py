"""Coalitions: a series of masks, each of which shows some superpixels and hides the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.methods.method import Extent
from salience_service.methods.options import Options, Seed
from salience_service.methods.probe import FloatMap
from salience_service.methods.rows.superpixels import Algorithm, Superpixels, most_superpixels

Shown = NDArray[np.bool_]
"""Which superpixels each row shows, [N, count]."""
Draw = Callable[[np.random.Generator, int, int], Shown]
"""Draws the coalitions of so many rows over so many superpixels."""


class CoalitionOptions(Options):
    """How the image is cut into superpixels, and how many coalitions of them are drawn."""

    samples: int = Field(1000, ge=2, le=10000, description="How many masked images are scored.")
    superpixels: Algorithm = Field(
        "quickshift", description="What cuts the image: quickshift, or slic into `segments`."
    )
    segments: int = Field(
        50, ge=2, le=300, description="How many superpixels slic begins with; it joins small ones."
    )
    seed: Seed = Field(0, description="Coalitions of one seed are always the same.")


def coalition_numbers(extent: Extent, options: CoalitionOptions) -> int:
    """Of samples × superpixels, at most."""
    most = most_superpixels(options.superpixels, options.segments, extent.height, extent.width)
    return options.samples * most


@dataclass(frozen=True)
class Coalitions:
    """Masks float32 [samples, H, W] of zeros and ones, made as they are cut.

    Attributes:
        superpixels: of one image. samples: rows, ≥ 1. seed: of the draw.
        draw: how coalitions are drawn.
    """

    superpixels: Superpixels
    samples: int
    seed: int
    draw: Draw

    @property
    def shape(self) -> tuple[int, int, int]:
        """[samples, H, W]."""
        height, width = self.superpixels.labels.shape
        return (self.samples, height, width)

    def __getitem__(self, part: slice) -> FloatMap:
        """Masks start to stop, float32 [n, H, W]."""
        return self.superpixels.painted(self.shown[part])

    @cached_property
    def shown(self) -> Shown:
        """The superpixels that each row shows, [samples, count]."""
        generator = np.random.default_rng(self.seed)
        return self.draw(generator, self.samples, self.superpixels.count)
