"""What methods work with stays within what is counted for them before they run."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from skimage.segmentation import quickshift, slic  # imported before memory is looked at
from sklearn.linear_model import LinearRegression, Ridge

from salience_service.errors import NotPossible
from salience_service.methods import METHODS
from salience_service.methods.activation.eigen_cam import EigenCamOptions, _places, _projection
from salience_service.methods.gradients.grad_cam_plus_plus import _weights
from salience_service.methods.gradients.smooth_grad_cam_plus_plus import (
    SmoothGradCamPlusPlusOptions,
    _Powers,
)
from salience_service.methods.method import Extent
from salience_service.methods.rows import superpixels as cutting
from salience_service.methods.rows.kernel_shap import shapley_draws, shapley_values
from salience_service.methods.rows.lime import _coefficients, coin_flips
from salience_service.methods.rows.superpixels import most_superpixels, superpixels

LOADED = (quickshift, slic, LinearRegression, Ridge)
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(64, 40, 40)).astype(np.float32)
EXTENT = Extent((64,), 224, 224, (FEATURES.size,))
SAMPLES = 2000
DOUBLE = 8


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """The most that is held within, in bytes, as far as NumPy tells."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def counted(method: str, **options: object) -> int:
    """Bytes that are counted for a method."""
    named = METHODS[method]
    assert named.working is not None
    return DOUBLE * named.working(EXTENT, named.options(**options))


def test_eigen_cam() -> None:
    with peak() as held:
        _projection(_places(FEATURES, EigenCamOptions()))
        assert FEATURES.size * DOUBLE < held() <= counted("eigen-cam")


def test_grad_cam_plus_plus() -> None:
    with peak() as held:
        _weights(FEATURES, FEATURES.astype(np.float64), 1e-6)
        assert 2 * FEATURES.size * DOUBLE < held() <= counted("grad-cam++")


def test_smooth_grad_cam_plus_plus() -> None:
    with peak() as held:
        powers = _Powers(FEATURES)
        for _ in range(3):
            powers.add(FEATURES.astype(np.float64))
            powers.weights(SmoothGradCamPlusPlusOptions())
        assert 4 * FEATURES.size * DOUBLE < held() <= counted("smooth-grad-cam++")


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_regressions_over_as_many_superpixels_as_there_may_be(method: str) -> None:
    count, scores = most_superpixels("slic", 100, 224 * 224), RANDOM.normal(size=SAMPLES)
    with peak() as held:
        if method == "lime":
            _coefficients(coin_flips(RANDOM, SAMPLES, count), scores, 0.25)
        else:
            shapley_values(shapley_draws(RANDOM, SAMPLES, count), scores)
        bound = counted(method, samples=SAMPLES, superpixels="slic", segments=100)
        assert SAMPLES * count * DOUBLE < held() <= bound


@pytest.mark.parametrize("algorithm", ["quickshift", "slic"])
def test_no_image_is_cut_into_more_superpixels_than_are_counted(algorithm: str) -> None:
    """Noise is cut finest."""
    for image in (
        RANDOM.normal(size=(3, 96, 96)),
        np.zeros((3, 96, 96)),
        RANDOM.random((3, 24, 30)),
    ):
        image = image.astype(np.float32)
        cut = superpixels(image, algorithm, 50)  # type: ignore[arg-type]
        assert cut.count <= most_superpixels(algorithm, 50, image[0].size)  # type: ignore[arg-type]


def test_an_image_that_is_cut_finer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "LEAST_PIXELS", 10_000)
    image = RANDOM.normal(size=(3, 96, 96)).astype(np.float32)
    with pytest.raises(NotPossible, match=r"quickshift cuts the image into .* use slic"):
        superpixels(image, "quickshift", 2)
