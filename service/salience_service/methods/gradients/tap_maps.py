"""Maps of taps: each made of the tap's features and the target's gradient to them."""

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.asking import tap_gradients
from salience_service.methods.probe import Answer, Base, FloatMap, Probe

Map64 = NDArray[np.float64]


def tap_maps(
    base: Base, made: Callable[[FloatMap, FloatMap], Map64]
) -> Generator[Probe, Answer, list[Map64]]:
    """A map per tap, coarse to fine; one gradient call answers all of them.

    Args:
        base: the clean run.
        made: features and gradient, float32 [K, h, w] both, to a map, float64 [h, w].

    Raises:
        NotPossible: a gradient is NaN or infinite.
    """
    gradients = yield from tap_gradients(base.image, tuple(base.features))
    return [made(features, gradients[tap]) for tap, features in base.features.items()]
