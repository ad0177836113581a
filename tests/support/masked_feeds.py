"""Feeds of the masked graphs: maps over images of 32×32 that rows take in turn."""

import numpy as np
from numpy.typing import NDArray

from salience_service.interpolation import interpolation_matrix
from tests.support.onnx_networks import images

Feeds = dict[str, NDArray[np.generic]]


def request(maps: NDArray[np.float32], requests: int = 2, **changes: NDArray[np.generic]) -> Feeds:
    """Feeds for rows that take the requests' images in turn."""
    pixels, fills = images(requests), images(requests, seed=9) * np.float32(0.3)
    count, height, width = maps.shape
    return {
        "differences": pixels - fills,
        "fills": fills,
        "image_of": np.arange(count) % requests,
        "maps": maps,
        "rows": interpolation_matrix(32, height),
        "columns": interpolation_matrix(32, width),
        "normalise": np.ones(count, bool),
        "scale": np.ones(count, np.float32),
        "shift": np.zeros(count, np.float32),
        **changes,
    }


def random_maps(count: int, height: int, width: int) -> NDArray[np.float32]:
    values = np.random.default_rng(3).normal(1, 2, (count, height, width))
    return values.astype(np.float32)


def each_its_own() -> dict[str, NDArray[np.generic]]:
    """For `request`, of 6 maps over 3 images: no two rows are treated alike."""
    return {
        "image_of": np.array([2, 2, 0, 1, 0, 2]),
        "normalise": np.array([True, False, True, False, True, False]),
        "scale": np.array([1, 1, -1, -0.5, 0.3, 0], np.float32),
        "shift": np.array([0, 0, 1, 0.5, 0.2, 1], np.float32),
    }
