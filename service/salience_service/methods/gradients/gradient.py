"""Gradient: how strongly each pixel moves the target, to first order."""

from pydantic import Field

from salience_service.methods.asking import image_gradient
from salience_service.methods.gradients.colours import (
    REDUCTION,
    VALUES,
    Reduction,
    Values,
    chosen,
    over_colours,
)
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome


class GradientOptions(Options):
    """What counts of a derivative, and how colours become one."""

    values: Values = Field("absolute", description=VALUES)
    reduction: Reduction = Field("max", description=REDUCTION)


def gradient(base: Base, options: GradientOptions) -> MethodRun:
    """max_c |∂y/∂x_c|, float32 [H, W] of the model's input.

    Simonyan et al. 2014, "Deep inside convolutional networks", §3.1; y is the target's
    value, a logit, and x the model's own, normalised numbers. `values=positive` is
    the ReLU that is often put on it, `reduction=sum` what captum's users do. With
    `values=signed` the map is signed. Departures: none by default.
    """
    found = yield from image_gradient(base.image)
    image_map = over_colours(chosen(found, options.values), options.reduction)
    return Outcome(image_map, signed=options.values == "signed")
