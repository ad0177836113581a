"""What methods work with stays within what is counted for them before they run."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.segmentation import quickshift, slic  # imported before memory is looked at
from sklearn.linear_model import LinearRegression, Ridge

from salience_service.errors import NotPossible
from salience_service.explanation.footprint import WORKING_IMAGES
from salience_service.methods import METHODS
from salience_service.methods.activation.eigen_cam import EigenCamOptions, _places, _projection
from salience_service.methods.gradients.grad_cam_plus_plus import _weights
from salience_service.methods.gradients.smooth_grad_cam_plus_plus import (
    SmoothGradCamPlusPlusOptions,
    _Powers,
)
from salience_service.methods.method import Extent
from salience_service.methods.optimised.perturbation import Kind, perturbation
from salience_service.methods.rows import superpixels as cutting
from salience_service.methods.rows.kernel_shap import shapley_draws, shapley_values
from salience_service.methods.rows.lime import _coefficients, coin_flips
from salience_service.methods.rows.random_grids import MaskSum, RandomGrids
from salience_service.methods.rows.superpixels import Algorithm, most_superpixels, superpixels

LOADED = (quickshift, slic, LinearRegression, Ridge)
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(64, 40, 40)).astype(np.float32)
EXTENT = Extent((64,), 224, 224, (FEATURES.size,))
SAMPLES = 2000
DOUBLE = 8
SUMS = WORKING_IMAGES * 3 * 224 * 224 * DOUBLE
"""Bytes that are counted whatever the method."""


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


@pytest.mark.parametrize("cells", [16, 64])
def test_rise(cells: int) -> None:
    masks = RandomGrids(1024, cells, 0.5, 0, 224, 224)
    with peak() as held:
        so_far = MaskSum(masks)
        for _ in range(2):
            so_far.add(np.ones(512))
        assert 512 * cells**2 < held() <= counted("rise", cells=cells) + SUMS


@pytest.mark.parametrize("kind", ["blur", "fade"])
def test_extremal_perturbation(kind: Kind) -> None:
    image = RANDOM.normal(size=(3, 224, 224)).astype(np.float32)
    base = SimpleNamespace(image=image, fill=np.zeros((3, 1, 1), np.float32))
    mask = RANDOM.random((224, 224), np.float32)
    with peak() as held:
        levels = perturbation(base, kind)
        levels.back(mask, levels.apply(mask))
        assert SUMS < held() <= counted("extremal-perturbation") + SUMS


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_regressions_over_as_many_superpixels_as_there_may_be(method: str) -> None:
    count, scores = most_superpixels("slic", 100, 224, 224), RANDOM.normal(size=SAMPLES)
    with peak() as held:
        if method == "lime":
            _coefficients(coin_flips(RANDOM, SAMPLES, count), scores, 0.25)
        else:
            shapley_values(shapley_draws(RANDOM, SAMPLES, count), scores)
        bound = counted(method, samples=SAMPLES, superpixels="slic", segments=100)
        assert SAMPLES * count * DOUBLE < held() <= bound


@pytest.mark.parametrize("algorithm", ["quickshift", "slic"])
@pytest.mark.parametrize("segments", [50, 300])
@pytest.mark.parametrize("size", [(96, 96), (32, 32), (16, 16), (24, 30), (5, 40)])
def test_no_image_is_cut_into_more_superpixels_than_are_counted(
    algorithm: Algorithm, segments: int, size: tuple[int, int]
) -> None:
    """Neither noise, nor one colour, nor a chequered one."""
    chequered = np.broadcast_to(np.indices(size).sum(0) // 4 % 2 * 5.0, (3, *size))
    for image in (RANDOM.normal(size=(3, *size)), np.zeros((3, *size)), chequered):
        cut = superpixels(image.astype(np.float32), algorithm, segments)
        assert cut.count <= most_superpixels(algorithm, segments, *size)


def test_an_image_that_is_cut_finer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "REACH", 96)
    image = RANDOM.normal(size=(3, 96, 96)).astype(np.float32)
    with pytest.raises(NotPossible, match=r"quickshift cuts the image into .* use slic"):
        superpixels(image, "quickshift", 2)
