"""Guided backpropagation: the image's gradient with what is negative stopped at every ReLU."""

from salience_service.methods.asking import image_climbed
from salience_service.methods.gradients.colours import chosen, over_colours
from salience_service.methods.gradients.gradient import GradientOptions
from salience_service.methods.probe import Base, Gradients, MethodRun, Outcome


def guided_backprop(base: Base, options: GradientOptions) -> MethodRun:
    """max_c |R⁰_c|, float32 [H, W] of the model's input, with R the guided gradient of y to x.

    Springenberg et al. 2015, "Striving for simplicity: the all convolutional net", figure 1:
    back through a ReLU, Rˡ = Rˡ⁺¹ · [Rˡ⁺¹ > 0] · [fˡ > 0]; through all else as the gradient.
    y is the target's value, a logit, and x the model's own numbers. ReLUs are found in the
    program, called as modules or not; clipped ones (ReLU6) are among them, and stop
    everything where they clip, as their gradient does. The paper draws R⁰ in colours:
    how they become one number is our choice, that of `gradient`. Caution: the map hardly
    depends on the network's upper layers (Adebayo et al. 2018, "Sanity checks for saliency
    maps"), and is flagged so. Departures: none beside.
    """
    _, guided = yield from image_climbed(Gradients(base.image, of_image=True, guided=True))
    image_map = over_colours(chosen(guided, options.values), options.reduction)
    return Outcome(image_map, signed=options.values == "signed")
