"""Input × gradient: what each pixel adds to the target, were it linear."""

from salience_service.methods.asking import image_gradient
from salience_service.methods.gradients.colours import over_colours
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome


class InputXGradientOptions(Options):
    """Input × gradient has no options."""


def input_x_gradient(base: Base, options: InputXGradientOptions) -> MethodRun:  # noqa: ARG001
    """Σ_c x_c ⊙ ∂y/∂x_c, float32 [H, W] of the model's input, signed.

    Shrikumar et al. 2016, "Not just a black box: learning important features through
    propagating activation differences"; y is the target's value, a logit, and x the
    model's own, normalised numbers. Departures: the colours of a pixel are added up.
    """
    gradient = yield from image_gradient(base.image)
    return Outcome(over_colours(base.image * gradient, "sum"), signed=True)
