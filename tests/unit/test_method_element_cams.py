"""Layer-CAM and Zoom-CAM, of one tap and of several, against slow oracles."""

import numpy as np
import pytest
from torch import nn

from salience_service.errors import InvalidRequest
from salience_service.interpolation import unit_range
from salience_service.methods import METHODS
from salience_service.methods.options import resolve
from salience_service.targets.target import Target
from tests.oracle.fusion import fuse
from tests.oracle.hires_cam import hires_cam
from tests.oracle.layer_cam import fused_layer_cam, layer_cam
from tests.oracle.zoom_cam import zoom_cam
from tests.support.answering import Scene, pyramid
from tests.support.gradients import SCENE, SIZE, TAPS, TARGETS, explained, tail_of, value_of

TAILS = [tail_of(SCENE.network, tap) for tap in TAPS]
FEATURES = [SCENE.features(tap) for tap in TAPS]


def layer_maps(target: Target = TARGETS[0]):
    """The oracle's map of each tap, coarse to fine."""
    return [
        layer_cam(tail, each, value_of(target)) for tail, each in zip(TAILS, FEATURES, strict=True)
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("place", range(3))
def test_layer_cam_equals_its_oracle(place: int, target: Target) -> None:
    expected = layer_maps(target)[place].numpy()
    found = explained("layer-cam", TAPS[place], target=target).outcome
    assert expected.max() > 0
    assert not found.signed
    np.testing.assert_allclose(found.map, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_of_signed_features_layer_cam_cuts_off_what_sums_to_less_than_zero() -> None:
    scene = Scene.of(pyramid(nn.Tanh())).double()
    features = scene.features("middle")
    expected = layer_cam(tail_of(scene.network, "middle"), features, value_of(TARGETS[0])).numpy()
    found = explained("layer-cam", "middle", scene=scene).outcome.map
    assert 0.1 < np.mean(expected == 0) < 0.9
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


@pytest.mark.parametrize(
    ("scaled", "gamma"), [(0, 2.0), (1, 2.0), (2, 0.01), (2, 100.0), (3, 2.0), (64, 2.0)]
)
def test_layer_cam_of_several_taps_equals_its_oracle(scaled: int, gamma: float) -> None:
    found = explained("layer-cam", *TAPS, scaled_taps=scaled, gamma=gamma).outcome.map
    expected = fused_layer_cam(layer_maps(), scaled, SIZE, gamma).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("fusion", ["mean", "product"])
def test_unscaled_it_fuses_as_the_others_do(fusion: str) -> None:
    found = explained("layer-cam", *TAPS, scaled_taps=0, fusion=fusion).outcome.map
    np.testing.assert_allclose(found, fuse(layer_maps(), fusion, SIZE).numpy(), atol=1e-4)


@pytest.mark.parametrize("options", [{"scaled_taps": 65}, {"scaled_taps": -1}, {"gamma": 0.0}])
def test_options_outside_their_limits_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match=rf"option {next(iter(options))} is .* from "):
        resolve(METHODS["layer-cam"].options, options)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_zoom_cam_equals_its_oracle(target: Target) -> None:
    found = explained("zoom-cam", *TAPS, target=target).outcome
    expected = zoom_cam(TAILS, FEATURES, value_of(target), SIZE).numpy()
    assert not found.signed
    assert found.map.max() > 0.5
    np.testing.assert_allclose(found.map, expected, atol=1e-4)


def test_zoom_cam_of_one_tap_is_that_taps_rectified_map() -> None:
    found = explained("zoom-cam", "middle").outcome.map
    expected = hires_cam(TAILS[1], FEATURES[1], value_of(TARGETS[0])).numpy()
    assert found.shape == (13, 10)
    np.testing.assert_allclose(unit_range(found), unit_range(np.maximum(expected, 0)), atol=1e-4)


def test_a_negative_target_makes_other_layer_and_zoom_cams() -> None:
    for method in ("layer-cam", "zoom-cam"):
        for_it, against = (
            unit_range(explained(method, *TAPS, target=target).outcome.map)
            for target in TARGETS[:2]
        )
        assert np.abs(for_it - against).max() > 0.3
