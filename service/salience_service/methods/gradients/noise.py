"""Noisy twins of an image, each drawn from its place in the series and a seed."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

SEED = Field(0, description="Of the noise; the same seed, the same map.")


def noisy(image: NDArray[np.float32], sigma: float, seed: int, sample: int) -> NDArray[np.float32]:
    """The image [C, H, W] plus Gaussian noise N(0, σ²), its own for every sample, float32."""
    noise = np.random.default_rng((seed, sample)).standard_normal(image.shape, np.float32)
    return image + np.float32(sigma) * noise
