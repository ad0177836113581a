"""What a caller asks to predict, and what it is told, as plain values."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Head, OutputKind
from salience_service.errors import InvalidRequest
from salience_service.request import PixelImage

FloatArray = NDArray[np.float32]
EIGHT_BIT = 255.0
"""The value of a pixel of full intensity."""


class Output(Enum):
    """What a model can put out for an image, [classes] each."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class InferOrder:
    """Everything one prediction asks for.

    Attributes:
        images: float32 [N, C, H, W], as the model itself takes them; or uint8 [N, H, W, C],
            pixels (red, green, blue, or grey) still to be prepared.
        version: empty: the one that answers where none is named.
        outputs: each once, in the order wanted; none: all that the model has.
        typed: whether the message of the images holds them as numbers of four bytes, also pixels.
    """

    model: str
    images: FloatArray | NDArray[np.uint8]
    version: str = ""
    outputs: tuple[Output, ...] = ()
    typed: bool = False

    @property
    def prepared(self) -> bool:
        """Whether the images are as the model takes them."""
        return self.images.dtype == np.float32

    def pixels(self, row: int) -> PixelImage:
        """One image of an order whose images are to be prepared."""
        return PixelImage(self.images[row], EIGHT_BIT)


@dataclass(frozen=True)
class Inferred:
    """What a model says of a batch.

    Attributes:
        model: its name. version: the one that answered. bundle_digest: SHA-256, hex.
        outputs: float32 [N, classes] each, those wanted, in their order.
        queue_seconds: the rows waited for the device. compute_seconds: and were on it.
    """

    model: str
    version: str
    bundle_digest: str
    outputs: tuple[tuple[Output, FloatArray], ...]
    queue_seconds: float
    compute_seconds: float

    @property
    def images(self) -> int:
        """Of the batch."""
        return len(self.outputs[0][1])


def outputs_of(head: Head) -> tuple[Output, ...]:
    """What a model puts out: a regression has no probabilities."""
    if head.kind is OutputKind.REGRESSION:
        return (Output.LOGITS,)
    return (Output.LOGITS, Output.PROBABILITIES)


def wanted(order: InferOrder, head: Head) -> tuple[Output, ...]:
    """What an order comes to on a model.

    Raises:
        InvalidRequest: the model does not put it out.
    """
    offered = outputs_of(head)
    for place, output in enumerate(order.outputs):
        if output not in offered:
            raise InvalidRequest(
                f"a regression has no {output.value}: ask for {Output.LOGITS.value}",
                field=f"outputs[{place}].name",
            )
    return order.outputs or offered
