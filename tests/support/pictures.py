"""Pictures as a network takes them: smooth, random, normalised."""

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import upsample


def picture(seed: int = 0, channels: int = 3, side: int = 32) -> NDArray[np.float32]:
    """A smooth random picture in normalised space, float32 [C, side, side]."""
    noise = np.random.default_rng(seed).normal(size=(channels, side // 4, side // 4))
    return upsample(noise.astype(np.float32), side, side)
