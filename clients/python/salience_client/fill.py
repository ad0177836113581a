"""What stands behind the mask, where an image is hidden."""

from dataclasses import dataclass
from typing import Literal

from salience.v1 import image_pb2 as wire
from salience_client.errors import InvalidRequest

_LEAST_KERNEL, _GREATEST_KERNEL = 3, 255


@dataclass(frozen=True)
class Blur:
    """The image itself, Gaussian-blurred in normalised space.

    Attributes:
        kernel: width in pixels of the model's input, odd, 3 to 255.
        sigma: standard deviation in pixels of the model's input, in (0, 128].
    """

    kernel: int = 51
    sigma: float = 20.0


@dataclass(frozen=True)
class Colour:
    """One colour: intensity per channel in [0, 1], red, green, blue or one grey."""

    intensity: tuple[float, ...]


Fill = Literal["mean", "black", "blur"] | Blur | Colour
""" "mean" is zero in normalised space, "black" is intensity zero, "blur" is Blur()."""


def fill_message(fill: Fill) -> wire.Fill:
    """The wire's Fill.

    Raises:
        InvalidRequest: no such fill, or a kernel out of range.
    """
    match fill:
        case "mean":
            return wire.Fill(mean=wire.MeanFill())
        case "black":
            return wire.Fill(black=wire.BlackFill())
        case "blur":
            return fill_message(Blur())
        case Blur():
            return wire.Fill(blur=_blur(fill))
        case Colour():
            return wire.Fill(colour=wire.ColourFill(intensity=fill.intensity))
    raise InvalidRequest(f"{fill!r} is no fill: use mean, black, blur, Blur(…) or Colour(…)")


def fill_of(message: wire.Fill) -> Fill:
    """The fill that a server used."""
    if message.HasField("blur"):
        return Blur(message.blur.kernel, message.blur.sigma)
    if message.HasField("colour"):
        return Colour(tuple(message.colour.intensity))
    return "black" if message.HasField("black") else "mean"


def _blur(blur: Blur) -> wire.BlurFill:
    # On the wire 0 stands for the default: here it is said in so many words, or refused.
    if not (_LEAST_KERNEL <= blur.kernel <= _GREATEST_KERNEL and blur.sigma > 0):
        raise InvalidRequest(
            f"a blur with kernel {blur.kernel} and sigma {blur.sigma}: give an odd kernel from "
            f"{_LEAST_KERNEL} to {_GREATEST_KERNEL} and a sigma above 0"
        )
    return wire.BlurFill(kernel=blur.kernel, sigma=blur.sigma)
