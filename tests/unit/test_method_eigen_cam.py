"""Eigen-CAM against its oracle, its sign, and that it is of no class."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.errors import NotPossible
from salience_service.interpolation import unit_range
from salience_service.methods.activation.eigen_cam import EigenCamOptions, eigen_cam
from salience_service.methods.probe import FloatMap, Outcome
from tests.oracle.eigen_cam import eigen_cam as oracle
from tests.support.answering import Scene, class_target, hear, pyramid, with_another_head

SCENE = Scene.of(pyramid())
SIGNED = Scene.of(pyramid(nn.Tanh()))


def explained(scene: Scene, tap: str = "coarse", index: int = 2, **options: bool) -> Outcome:
    target = class_target(index)
    return hear(
        eigen_cam(scene.base(target, tap), EigenCamOptions(**options)), scene, target
    ).outcome


def of(features: FloatMap, **options: bool) -> FloatMap:
    """The map of these features."""
    target = class_target(2)
    base = replace(SCENE.base(target, "coarse"), features={"coarse": features})
    return hear(eigen_cam(base, EigenCamOptions(**options)), SCENE, target).outcome.map


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("tap", ["coarse", "fine"])
@pytest.mark.parametrize("scene", [SCENE, SIGNED], ids=["relu", "signed"])
def test_eigen_cam_equals_its_oracle(scene: Scene, tap: str, centre: bool, relu: bool) -> None:
    """The coarse tap has 9 channels of 35 places, the fine one 5 of 567."""
    found = explained(scene, tap, centre=centre, relu=relu).map
    exact = oracle(scene.features(tap).double(), centre, relu).numpy()
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_more_channels_than_places_are_as_good() -> None:
    features = np.random.default_rng(3).normal(size=(40, 3, 2)).astype(np.float32)
    exact = oracle(torch.from_numpy(features).double()).numpy()
    np.testing.assert_allclose(of(features), exact, rtol=0, atol=1e-5 * exact.max())


def test_the_value_of_largest_magnitude_is_positive_whatever_the_features_sign() -> None:
    features = SCENE.base(class_target(2), "coarse").features["coarse"]
    whole, turned = of(features, relu=False), of(-features, relu=False)
    assert whole.max() > -whole.min() > 0
    np.testing.assert_allclose(whole, turned, atol=1e-5)


def test_the_map_is_of_no_class() -> None:
    np.testing.assert_array_equal(explained(SCENE, index=0).map, explained(SCENE, index=2).map)
    other = Scene.of(with_another_head(SCENE.network))
    np.testing.assert_array_equal(explained(other).map, explained(SCENE).map)


def test_no_row_is_scored_and_the_map_is_not_signed() -> None:
    target = class_target(2)
    run = eigen_cam(SCENE.base(target, "coarse"), EigenCamOptions(relu=False))
    heard = hear(run, SCENE, target)
    assert heard.rows == heard.gradients == 0
    assert not heard.outcome.signed


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.3, -0.3])
def test_flat_features_give_zeros(value: float, centre: bool) -> None:
    flat = np.full((9, 7, 5), value, np.float32)
    assert not unit_range(of(flat, centre=centre, relu=False)).any()


def test_features_that_are_flat_but_for_rounding_give_zeros() -> None:
    rounding = np.random.default_rng(0).uniform(-2e-7, 2e-7, (9, 7, 5))
    features = np.asarray(0.3 * (1 + rounding), np.float32)
    assert np.ptp(features) > 0
    assert not of(features, relu=False).any()


def test_a_flat_channel_changes_nothing() -> None:
    features = SCENE.base(class_target(2), "coarse").features["coarse"]
    more = np.concatenate([features, np.full((1, 7, 5), 1e4, np.float32)])
    np.testing.assert_allclose(of(more), of(features), rtol=1e-5, atol=1e-6)


def test_features_that_are_not_numbers_are_an_error_and_no_map() -> None:
    features = np.ones((9, 7, 5), np.float32)
    features[4, 2, 2] = np.inf
    with pytest.raises(NotPossible, match="tap coarse are NaN or infinite"):
        of(features)
