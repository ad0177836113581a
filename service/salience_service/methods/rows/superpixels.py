"""Superpixels: patches of alike pixels of an image, shown or hidden as one."""

import math
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import ColourOrder
from salience_service.errors import NotPossible
from salience_service.interpolation import is_flat
from salience_service.methods.probe import FloatMap

Algorithm = Literal["quickshift", "slic"]
REACH = 13
"""Pixels along a side in which quickshift, as it is called here, has no two superpixels of its own
height: its window is of twelve, and theirs reach on."""


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A partition of an image; equal to itself alone.

    Attributes:
        labels: int64 [H, W], the superpixel of each pixel, in [0, count).
        count: how many there are, ≥ 1.
    """

    labels: NDArray[np.int64]
    count: int

    def painted(self, values: NDArray[np.generic]) -> FloatMap:
        """Values [..., count] laid over their superpixels, float32 [..., H, W]."""
        return np.take(values.astype(np.float32), self.labels, axis=-1)


def superpixels(
    image: FloatMap,
    algorithm: Algorithm,
    segments: int,
    colour_order: ColourOrder = ColourOrder.RGB,
) -> Superpixels:
    """Cuts an image; the same array is cut once for all who ask at about the same time.

    Args:
        image: float32 [C, H, W], the model's own numbers.
        algorithm: `quickshift` with the settings of the lime package (kernel 4, greatest
            distance 200, ratio 0.2), or `slic`.
        segments: about how many superpixels slic makes; quickshift finds its own number.
        colour_order: of the image's channels.

    Raises:
        NotPossible: it is cut finer than `most_superpixels`.
    """
    # Quickshift looks at no number of segments: any two then share what was cut.
    return _cut(_Image(image), algorithm, segments if algorithm == "slic" else 0, colour_order)


def most_superpixels(algorithm: Algorithm, segments: int, height: int, width: int) -> int:
    """How many superpixels an image of this size is cut into at most.

    Slic joins what has less than half of a segment's pixels.
    """
    if algorithm == "slic":
        return height * width // max(1, height * width // (2 * segments))
    return math.ceil(height / REACH) * math.ceil(width / REACH)


class _Image:
    """An image as a key: equal to itself alone, and not kept alive by being one."""

    def __init__(self, image: FloatMap) -> None:
        self._image = weakref.ref(image)
        self._hash = id(image)

    @property
    def array(self) -> FloatMap | None:
        """The image, while it lives."""
        return self._image()

    def __eq__(self, other: object) -> bool:
        mine = self.array
        return isinstance(other, _Image) and mine is not None and mine is other.array

    def __hash__(self) -> int:
        return self._hash


@lru_cache(maxsize=8)
def _cut(
    image: _Image, algorithm: Algorithm, segments: int, colour_order: ColourOrder
) -> Superpixels:
    # scikit-image takes a second and 50 MB to import, and most servers never need it.
    from skimage.segmentation import quickshift, slic

    assert image.array is not None
    picture = _picture(image.array, colour_order)
    if algorithm == "slic":
        found = slic(picture, n_segments=segments, start_label=0)
    else:
        found = quickshift(picture, kernel_size=4, max_dist=200, ratio=0.2)
    names, labels = np.unique(found, return_inverse=True)
    most = most_superpixels(algorithm, segments, *found.shape)
    if len(names) > most:
        raise NotPossible(
            f"{algorithm} cuts the image into {len(names)} superpixels, and at most {most} are "
            "counted on: use slic, or fewer segments"
        )
    return Superpixels(labels.reshape(found.shape).astype(np.int64), len(names))


def _picture(image: FloatMap, colour_order: ColourOrder) -> NDArray[np.float64]:
    """The image as both algorithms take it, float64 [H, W, 3] in [0, 1]: red, green, blue.

    One scale for all channels, so that colours keep their proportions; a grey image is
    repeated over three, as the lime package does, and has no colour in CIELAB.
    """
    low, high = float(image.min()), float(image.max())
    scale = 1.0 if is_flat(low, high) else high - low
    picture = (image.astype(np.float64) - low) / scale
    if colour_order is ColourOrder.BGR:
        picture = picture[::-1]
    return np.ascontiguousarray(np.broadcast_to(picture, (3, *image.shape[1:])).transpose(1, 2, 0))
