"""Fake-CAM: a map that explains nothing, to show which scores it fools."""

import numpy as np

from salience_service.methods.options import Options
from salience_service.methods.probe import Base, MethodRun, Outcome


class FakeCamOptions(Options):
    """Fake-CAM has no options."""


def fake_cam(base: Base, options: FakeCamOptions) -> MethodRun:  # noqa: ARG001
    """Ones but for the top left pixel, which is zero, float32 [H, W] of the model's input.

    Poppi et al. 2021, "Revisiting the evaluation of class activation mapping for
    explainability". The same for every image, class and model.
    """
    yield from ()
    image_map = np.ones((base.height, base.width), np.float32)
    image_map[0, 0] = 0
    return Outcome(image_map)
