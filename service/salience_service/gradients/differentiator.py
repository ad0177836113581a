"""A differentiator: who takes a model's gradients, whichever side it computes them on."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from salience_service.runtime.session import Execution

FloatArray = NDArray[np.float32]


class Differentiator(Protocol):
    """Answers one image a call; the same call gives the same bits, whoever else is there.

    Attributes:
        alone: what its calls share with none that runs; None where they run side by side.
    """

    alone: str | None

    def gradient(
        self,
        image: FloatArray,
        cotangent: FloatArray,
        tensors: Sequence[str],
        execution: Execution,
        guided: bool = False,
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """The logits of one image, and the gradients of cotangent · logits.

        Args:
            image: float32 [C, H, W], the model's own numbers.
            cotangent: float32 [K].
            tensors: what the gradients are taken to: `images` for the image, a tap by
                its output of the forward graph. Nothing else is computed.
            execution: where it runs, and the word to end it early, where the side can.
            guided: stops negative gradients at every ReLU on the way.

        Returns:
            Logits float32 [K], and per tensor its gradient, float32 of its own shape.

        Raises:
            NotPossible: this side does not know a tap, or cannot guide gradients.
            ComputeFailed: the runtime failed.
            Cancelled: `execution` ended the call.
        """
        ...

    def masked_gradient(
        self,
        difference: FloatArray,
        fill: FloatArray,
        image_map: FloatArray,
        cotangent: FloatArray,
        execution: Execution,
        normalise: bool = True,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> tuple[FloatArray, FloatArray]:
        """The logits of fill + mask · difference and d (cotangent · logits) / d map.

        mask = scale · n(up(map)) + shift; up and n are those of the masked graph. A flat map
        has an n of zeros, which no small change of it changes: its gradient is zeros, never NaN.

        Args:
            difference: float32 [C, H, W], image − fill.
            fill: float32 [C, H, W].
            image_map: float32 [h, w], finite.
            cotangent: float32 [K].
            execution: where it runs, and the word to end it early, where the side can.
            normalise: whether n is min–max; else it leaves the map as it is.
            scale: of the mask.
            shift: of the mask.

        Returns:
            Logits float32 [K] and gradient float32 [h, w].

        Raises:
            ComputeFailed: the runtime failed.
            Cancelled: `execution` ended the call.
        """
        ...
