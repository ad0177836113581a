"""Methods that mask pixels against captum, the lime package and RISE's authors, options matched.

Largest differences after min–max, measured: occlusion 8e-7, kernel-shap 5e-7 (captum weighs the
two ends of its regression by a million, where ours is constrained), lime 2e-7; between masks of
RISE less than 1e-6.
"""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.transform import resize

from salience_service.interpolation import unit_range
from salience_service.methods.rows.kernel_shap import KernelShapOptions, kernel_shap
from salience_service.methods.rows.lime import LimeOptions, lime
from salience_service.methods.rows.occlusion import OcclusionOptions, occlusion
from salience_service.methods.rows.random_grids import RandomGrids
from tests.support.answering import Scene, class_target, hear, pyramid

SCENE = Scene.of(pyramid())
CLASS = 2
CLOSE = 1e-3


@pytest.fixture(scope="module")
def captum():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "parity with captum needs captum (pip install --no-deps captum)"
        return pytest.importorskip("captum.attr", reason=reason)


@pytest.fixture(scope="module")
def lime_image():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "parity with lime needs lime (pip install --no-deps lime)"
        return pytest.importorskip("lime.lime_image", reason=reason)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Both raw maps: their min–maxed forms, and that neither is flat."""
    assert np.ptp(expected) > 0
    expected = np.asarray(expected, np.float32)
    assert np.abs(unit_range(found) - unit_range(expected)).max() <= CLOSE
    np.testing.assert_allclose(found, expected, atol=CLOSE * np.ptp(expected))


@pytest.mark.parametrize(("window", "stride"), [(12, 5), (7, 7), (42, 3), (10, 9)])
def test_occlusion_equals_captums(captum, window: int, stride: int) -> None:
    run = occlusion(SCENE.base(class_target(CLASS)), OcclusionOptions(window=window, stride=stride))
    found = hear(run, SCENE, class_target(CLASS)).outcome.map
    expected = captum.Occlusion(SCENE.network).attribute(
        SCENE.image[None],
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=SCENE.fill[None],
        target=CLASS,
        perturbations_per_eval=8,
    )
    assert_close(found, expected[0, 0].numpy())


@pytest.mark.parametrize("samples", [40, 200])
def test_kernel_shap_equals_captums_on_the_same_coalitions(captum, samples: int) -> None:
    options = KernelShapOptions(samples=samples, superpixels="slic", segments=12)
    heard = hear(kernel_shap(SCENE.base(class_target(CLASS)), options), SCENE, class_target(CLASS))
    masks = heard.probes[0].masks

    def ours(*_, **__):
        for row in masks.shown:
            yield torch.from_numpy(row)[None].long()

    theirs = captum.KernelShap(SCENE.network)
    theirs.perturb_func = ours
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.attribute(
            SCENE.image[None],
            baselines=SCENE.fill[None],
            target=CLASS,
            feature_mask=torch.from_numpy(masks.superpixels.labels)[None, None].expand(
                1, 3, -1, -1
            ),
            n_samples=samples,
            perturbations_per_eval=8,
        )
    assert_close(heard.outcome.map, expected[0, 0].numpy())


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_lime_equals_the_lime_package_on_the_same_coalitions(lime_image, width: float) -> None:
    options = LimeOptions(samples=80, superpixels="slic", segments=12, kernel_width=width)
    heard = hear(lime(SCENE.base(class_target(CLASS)), options), SCENE, class_target(CLASS))
    masks = heard.probes[0].masks
    labels = masks.superpixels.labels

    @torch.no_grad()
    def classify(images: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        return SCENE.network(rows).softmax(1).numpy()

    explainer = lime_image.LimeImageExplainer(kernel_width=width, random_state=0)
    shown = masks.shown.astype(int).ravel()
    explainer.random_state = SimpleNamespace(randint=lambda *_, **__: shown)
    explained = explainer.explain_instance(
        SCENE.image.permute(1, 2, 0).double().numpy(),
        classify,
        labels=(CLASS,),
        top_labels=None,
        hide_color=SCENE.fill.permute(1, 2, 0).double().numpy(),
        num_samples=80,
        segmentation_fn=lambda _: labels,
        random_seed=0,
    )
    weights = dict(explained.local_exp[CLASS])
    expected = np.array([weights[label] for label in range(labels.max() + 1)])[labels]
    assert_close(heard.outcome.map, expected)


@pytest.mark.parametrize(("height", "width", "cells"), [(224, 224, 8), (54, 42, 5), (33, 64, 7)])
def test_masks_of_rise_are_made_as_its_authors_make_them(
    height: int, width: int, cells: int
) -> None:
    """Their code: scikit-image's resize of order 1, mode "reflect", then a crop."""
    masks = RandomGrids(6, cells, 0.4, 3, height, width)
    up = [(cells + 1) * -(-side // cells) for side in (height, width)]
    for grid, down, right, found in zip(*masks.draws(0, 6), masks[0:6], strict=True):
        whole = resize(grid, up, order=1, mode="reflect", anti_aliasing=False)
        expected = whole[down : down + height, right : right + width]
        np.testing.assert_allclose(found, expected, atol=1e-6)
