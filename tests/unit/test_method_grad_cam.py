"""Grad-CAM and HiResCAM against slow oracles, and against each other where they must agree."""

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.errors import NotPossible
from salience_service.interpolation import unit_range
from salience_service.methods.gradients.grad_cam import GradCamOptions, grad_cam
from salience_service.methods.gradients.hires_cam import HiResCamOptions, hires_cam
from salience_service.methods.probe import GradientAnswer, Gradients, Outcome
from salience_service.targets.target import Target
from tests.oracle.grad_cam import grad_cam as grad_cam_oracle
from tests.oracle.hires_cam import hires_cam as hires_cam_oracle
from tests.support.answering import Pyramid, Scene, class_target, hear, with_another_head
from tests.support.gradients import CLASS, SCENE, TARGETS, tail_of, value_of


def grad(tap: str, target: Target = TARGETS[0], scene: Scene = SCENE, **options: bool) -> Outcome:
    return hear(grad_cam(scene.base(target, tap), GradCamOptions(**options)), scene, target).outcome


def hires(tap: str, target: Target = TARGETS[0], scene: Scene = SCENE, **options: bool) -> Outcome:
    run = hires_cam(scene.base(target, tap), HiResCamOptions(**options))
    return hear(run, scene, target).outcome


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("tap", ["fine", "middle", "coarse"])
def test_grad_cam_equals_its_oracle(tap: str, target: Target) -> None:
    expected = grad_cam_oracle(tail_of(SCENE.network, tap), SCENE.features(tap), value_of(target))
    found = grad(tap, target)
    assert expected.max() > 0
    assert not found.signed
    np.testing.assert_allclose(unit_range(found.map), unit_range(expected.numpy()), atol=1e-4)


@pytest.mark.parametrize("tap", ["fine", "middle", "coarse"])
def test_with_positive_gradients_it_equals_the_oracle_that_averages_only_those(tap: str) -> None:
    expected = grad_cam_oracle(
        tail_of(SCENE.network, tap), SCENE.features(tap), value_of(TARGETS[0]), positive=True
    )
    found, plain = grad(tap, positive_gradients=True), grad(tap)
    np.testing.assert_allclose(unit_range(found.map), unit_range(expected.numpy()), atol=1e-4)
    assert np.abs(unit_range(found.map) - unit_range(plain.map)).max() > 0.05


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("tap", ["fine", "middle", "coarse"])
def test_hires_cam_equals_its_oracle(tap: str, target: Target) -> None:
    expected = hires_cam_oracle(tail_of(SCENE.network, tap), SCENE.features(tap), value_of(target))
    found = hires(tap, target)
    assert found.signed
    scale = float(expected.abs().max())
    np.testing.assert_allclose(found.map / scale, expected.numpy() / scale, atol=1e-6)
    np.testing.assert_allclose(unit_range(found.map), unit_range(expected.numpy()), atol=1e-4)


def test_without_its_relu_grad_cam_is_signed_and_with_it_hires_cam_is_not() -> None:
    signed, cut = grad("middle", relu=False), grad("middle")
    assert signed.signed
    assert signed.map.min() < 0
    np.testing.assert_array_equal(np.maximum(signed.map, 0), cut.map)
    signed, cut = hires("middle"), hires("middle", relu=True)
    assert signed.map.min() < 0
    assert not cut.signed
    np.testing.assert_array_equal(np.maximum(signed.map, 0), cut.map)


class Averaged(Pyramid):
    """Its last tap goes through global average pooling and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Unflatten(1, (9, 35)), Averager(), nn.Linear(9, 6))


class Averager(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(2)


def test_cam_grad_cam_and_hires_cam_are_one_where_pooling_and_a_linear_layer_follow() -> None:
    torch.manual_seed(3)
    scene = Scene(Averaged().eval().double(), SCENE.image, SCENE.fill)
    weights = scene.network.head[2].weight[CLASS].detach()
    cam = (weights[:, None, None] * scene.features("coarse")).sum(0).numpy()
    assert cam.min() < 0 < cam.max()
    for found in (grad("coarse", scene=scene, relu=False), hires("coarse", scene=scene)):
        np.testing.assert_allclose(found.map * 35, cam, rtol=1e-5, atol=1e-6 * np.abs(cam).max())


@pytest.mark.parametrize("method", [grad, hires])
def test_one_gradient_is_taken_of_the_clean_image_to_the_tap_alone(method) -> None:
    target, name = TARGETS[0], "middle"
    run, options = (
        (grad_cam, GradCamOptions()) if method is grad else (hires_cam, HiResCamOptions())
    )
    base = SCENE.base(target, name)
    heard = hear(run(base, options), SCENE, target)
    (probe,) = heard.probes
    assert isinstance(probe, Gradients)
    assert (probe.taps, probe.of_image) == ((name,), False)
    np.testing.assert_array_equal(probe.image, base.image)


@pytest.mark.parametrize(
    ("run", "options"), [(grad_cam, GradCamOptions()), (hires_cam, HiResCamOptions())]
)
@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_gradient_that_is_not_a_number_is_an_error_and_no_map(run, options, lost) -> None:
    asked = run(SCENE.base(TARGETS[0], "coarse"), options)
    next(asked)
    gradient = np.full((9, 7, 5), lost, np.float32)
    with pytest.raises(NotPossible, match="NaN or infinite"):
        asked.send(GradientAnswer(1.0, None, {"coarse": gradient}))


@pytest.mark.parametrize("method", [grad, hires])
def test_two_classes_differ_and_another_last_layer_changes_the_map(method) -> None:
    other = Scene(with_another_head(SCENE.network.float()).double(), SCENE.image, SCENE.fill)
    SCENE.network.double()
    own = unit_range(method("coarse").map)
    assert np.abs(own - unit_range(method("coarse", class_target(0)).map)).max() > 0.05
    assert np.abs(own - unit_range(method("coarse", scene=other).map)).max() > 0.05
