"""Superpixels: of the picture, not of its normalisation; of grey images too; cut once."""

import gc
import subprocess
import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from skimage import data
from skimage.segmentation import quickshift, slic
from skimage.transform import resize

from salience_service.bundle.manifest import ColourOrder, ResizeRule
from salience_service.explanation.subject import Subject
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.methods import METHODS
from salience_service.methods.rows import superpixels as cutting
from salience_service.methods.rows.superpixels import superpixels
from salience_service.request import PixelImage
from salience_service.row_graphs.sources import MaskedImage
from tests.support.answering import class_target
from tests.support.contracts import contract

MEAN = np.array((0.485, 0.456, 0.406)).reshape(3, 1, 1)
PHOTOGRAPH = resize(data.astronaut(), (96, 80), anti_aliasing=True)
IMAGE = np.ascontiguousarray(PHOTOGRAPH.transpose(2, 0, 1), np.float32)


def share_that_agrees(one: np.ndarray, other: np.ndarray) -> float:
    """Of the pixels that lie beside each other, how many are parted, or joined, in both."""
    borders = [np.diff(labels, axis=axis) != 0 for labels in (one, other) for axis in (0, 1)]
    down, right, other_down, other_right = borders
    return float(np.mean([(down == other_down).mean(), (right == other_right).mean()]))


def test_quickshift_cuts_the_picture_as_the_lime_package_does() -> None:
    picture = (PHOTOGRAPH - PHOTOGRAPH.min()) / np.ptp(PHOTOGRAPH)
    expected = quickshift(picture, kernel_size=4, max_dist=200, ratio=0.2)
    found = superpixels(IMAGE, "quickshift", 50)
    assert found.count == expected.max() + 1 > 3
    assert share_that_agrees(found.labels, expected) > 0.999


def test_slic_makes_about_as_many_superpixels_as_asked() -> None:
    picture = (PHOTOGRAPH - PHOTOGRAPH.min()) / np.ptp(PHOTOGRAPH)
    few, many = superpixels(IMAGE, "slic", 10), superpixels(IMAGE, "slic", 60)
    # It grows that many seeds, and joins what stays small to its neighbours.
    assert 3 <= few.count <= 10 < 30 <= many.count <= 60
    expected = slic(picture, n_segments=60, start_label=0)
    assert share_that_agrees(many.labels, expected) > 0.999


@pytest.mark.parametrize("algorithm", ["quickshift", "slic"])
def test_the_normalisation_of_the_model_changes_next_to_nothing(algorithm) -> None:
    normalised = ((IMAGE - MEAN) / 0.225).astype(np.float32)
    scaled = (2 * IMAGE - 1).astype(np.float32)
    own = superpixels(IMAGE, algorithm, 50).labels
    assert share_that_agrees(superpixels(scaled, algorithm, 50).labels, own) > 0.99
    assert share_that_agrees(superpixels(normalised, algorithm, 50).labels, own) > 0.9


@pytest.mark.parametrize("algorithm", ["quickshift", "slic"])
def test_the_model_s_channel_order_changes_nothing(algorithm) -> None:
    twin = np.ascontiguousarray(IMAGE[::-1])
    own = superpixels(IMAGE, algorithm, 50).labels
    np.testing.assert_array_equal(superpixels(twin, algorithm, 50, ColourOrder.BGR).labels, own)
    assert share_that_agrees(superpixels(twin, algorithm, 50).labels, own) < 1


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_methods_cut_the_picture_whatever_their_model_s_channel_order(method) -> None:
    """From the image as sent to the masks asked for."""
    labels = []
    for order in ColourOrder.RGB, ColourOrder.BGR:
        taken = replace(
            contract(ResizeRule.STRETCH, (96, 80), order=order), mean=(0.5,) * 3, std=(0.25,) * 3
        )
        given = PixelImage((255 * PHOTOGRAPH).astype(np.uint8), 255)
        prepared = prepare(given, taken, ImageLimits())
        image = MaskedImage.over(prepared.tensor, np.zeros_like(prepared.tensor))
        clean = SimpleNamespace(features={}, logits=np.zeros(3, np.float32))
        target = class_target(0)
        base = Subject(prepared, clean, (target,), image, image, {}).base((), target)
        asked = next(METHODS[method].run(base, METHODS[method].options(superpixels="slic")))
        labels.append(asked.masks.superpixels.labels)
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize("algorithm", ["quickshift", "slic"])
def test_a_grey_image_is_cut_as_the_same_picture_in_grey_colours(algorithm) -> None:
    grey = IMAGE.mean(axis=0, keepdims=True)
    found = superpixels(grey, algorithm, 50)
    coloured = superpixels(np.repeat(grey, 3, axis=0), algorithm, 50)
    assert found.count > 3
    np.testing.assert_array_equal(found.labels, coloured.labels)


@pytest.mark.parametrize("algorithm", ["quickshift", "slic"])
@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 1, 1), (3, 2, 40)])
def test_every_pixel_lies_in_one_superpixel_even_of_a_flat_image(
    algorithm, shape: tuple[int, int, int]
) -> None:
    found = superpixels(np.full(shape, 0.3, np.float32), algorithm, 5)
    assert found.labels.shape == shape[1:]
    assert set(found.labels.ravel()) == set(range(found.count))


def test_an_image_is_cut_once_for_all_who_ask() -> None:
    first = superpixels(IMAGE, "quickshift", 50)
    assert superpixels(IMAGE, "quickshift", 60) is first
    assert superpixels(IMAGE, "slic", 50) is not first
    assert superpixels(IMAGE.copy(), "quickshift", 50) is not first


def test_an_image_is_not_kept_for_having_been_cut() -> None:
    image = IMAGE.copy()
    superpixels(image, "slic", 5)
    gone = weakref.ref(image)
    del image
    gc.collect()
    assert gone() is None


def test_many_images_are_not_all_remembered() -> None:
    for seed in range(20):
        superpixels(np.random.default_rng(seed).random((1, 8, 8), np.float32), "slic", 2)
    assert cutting._cut.cache_info().currsize <= 8


def test_values_are_painted_over_their_superpixels() -> None:
    found = superpixels(IMAGE, "slic", 10)
    values = np.arange(2 * found.count, dtype=np.float64).reshape(2, -1)
    painted = found.painted(values)
    assert painted.dtype == np.float32
    np.testing.assert_array_equal(painted[1], values[1][found.labels])


def test_importing_the_methods_imports_no_heavy_package() -> None:
    program = (
        "import sys, salience_service.methods; "
        "print({'skimage', 'sklearn', 'scipy'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "none"
