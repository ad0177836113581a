"""What rows are made from: an image over its fill, or a tap of its clean run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Tap
from salience_service.bundle.tensors import DIFFERENCES, FILLS, TAP
from salience_service.errors import Cancelled

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """An image ready to be masked: `difference` = image − fill, and `fill`; float32 [C, H, W]."""

    difference: FloatArray
    fill: FloatArray

    @classmethod
    def over(cls, image: FloatArray, fill: FloatArray) -> "MaskedImage":
        """An image over a fill, both float32 [C, H, W]."""
        return cls(image - fill, fill)

    def arrays(self) -> Mapping[str, FloatArray]:
        """`differences` and `fills`."""
        return {DIFFERENCES: self.difference, FILLS: self.fill}


@dataclass(frozen=True, eq=False)
class TappedImage:
    """An image as the network has it at a tap.

    Attributes:
        tap: float32, as the forward graph puts it out: [K, h, w], or tokens.
        live: what else the network after it reads, by the names of the forward graph.
    """

    tap: FloatArray
    live: Mapping[str, FloatArray]

    def arrays(self) -> Mapping[str, FloatArray]:
        """`tap`, and the live tensors."""
        return {TAP: self.tap, **self.live}


TapRun = Callable[[FloatArray, Tap], TappedImage]
"""Runs an image [C, H, W] up to a tap."""


def no_run(image: FloatArray, tap: Tap) -> TappedImage:  # noqa: ARG001
    """The `TapRun` of a model that is no more."""
    raise Cancelled("the model was retired")
