"""Grad-CAM++ and XGrad-CAM against slow oracles, and where their denominators vanish."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from salience_service.errors import InvalidRequest
from salience_service.interpolation import unit_range
from salience_service.methods import METHODS
from salience_service.methods.options import resolve
from salience_service.methods.probe import GradientAnswer
from salience_service.targets.target import Target
from tests.oracle.grad_cam_plus_plus import grad_cam_plus_plus
from tests.oracle.x_grad_cam import x_grad_cam
from tests.support.answering import Scene, pyramid
from tests.support.gradients import CLASS, SCENE, TAPS, TARGETS, explained, tail_of, value_of

ORACLES = {"grad-cam++": grad_cam_plus_plus, "xgrad-cam": x_grad_cam}
SIGNED = Scene.of(pyramid(nn.Tanh())).double()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("method", ORACLES)
def test_it_equals_its_oracle(method: str, tap: str, target: Target) -> None:
    expected = ORACLES[method](
        tail_of(SCENE.network, tap), SCENE.features(tap), value_of(target)
    ).numpy()
    found = explained(method, tap, target=target).outcome
    assert expected.max() > 0
    assert not found.signed
    np.testing.assert_allclose(unit_range(found.map), unit_range(expected), atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
@pytest.mark.parametrize("method", ORACLES)
def test_so_it_does_at_the_limits_of_epsilon(method: str, epsilon: float) -> None:
    expected = ORACLES[method](
        tail_of(SCENE.network, "middle"), SCENE.features("middle"), lambda y: y[CLASS], epsilon
    ).numpy()
    found = explained(method, "middle", epsilon=epsilon).outcome.map
    np.testing.assert_allclose(unit_range(found), unit_range(expected), atol=1e-4)


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("epsilon", [-1e-9, 1.1])
def test_epsilon_outside_its_limits_is_refused(method: str, epsilon: float) -> None:
    with pytest.raises(InvalidRequest, match=r"option epsilon is .* from 0 to 1 "):
        resolve(METHODS[method].options, {"epsilon": epsilon})


@pytest.mark.parametrize("method", ORACLES)
def test_signed_features_give_finite_maps(method: str) -> None:
    found = explained(method, "coarse", scene=SIGNED).outcome.map
    assert SIGNED.features("coarse").min() < -0.1
    assert np.isfinite(found).all()
    assert found.min() >= 0


def answered(method: str, features: np.ndarray, gradient: np.ndarray, **options: float):
    """The map of one tap of two channels that got this gradient."""
    base = replace(SCENE.base(TARGETS[0]), features={"tap": features})
    run = METHODS[method].run(base, METHODS[method].options(**options))
    next(run)
    with pytest.raises(StopIteration) as end:
        run.send(GradientAnswer(1.0, None, {"tap": gradient}))
    return end.value.value.map


def test_a_channel_that_sums_to_zero_weighs_nothing_in_xgrad_cam() -> None:
    features = np.float32([[[1, -1], [2, -2]], [[1, 2], [3, 4]]])
    gradient = np.float32([[[1, 2], [3, 4]], [[1, 1], [1, 1]]])
    found = answered("xgrad-cam", features, gradient, epsilon=0)
    np.testing.assert_allclose(found, features[1], rtol=1e-6)


def test_a_denominator_of_zero_gives_no_weight_in_grad_cam_plus_plus() -> None:
    """2g² + ΣA g³ is zero where g = −2 / ΣA."""
    features = np.float32([[[-1, -1], [0, 0]], [[1, 2], [3, 4]]])
    gradient = np.float32([[[1, 0], [0, 0]], [[1, 1], [1, 1]]])
    found = answered("grad-cam++", features, gradient, epsilon=0)
    np.testing.assert_allclose(found, 4 / 12 * features[1], rtol=1e-6)


@pytest.mark.parametrize("method", ORACLES)
def test_no_gradient_gives_zeros(method: str) -> None:
    features = np.ones((2, 2, 2), np.float32)
    assert not answered(method, features, np.zeros_like(features), epsilon=0).any()


def test_grad_cam_plus_plus_does_not_underflow_where_gradients_are_tiny() -> None:
    """g³ of 1e-20 is below float32; α is 1/2 there without its ε."""
    features = np.float32([[[0, 1], [0, 0]], [[0, 0], [1, 0]]])
    gradient = np.full((2, 2, 2), 1e-20, np.float32)
    found = answered("grad-cam++", features, gradient, epsilon=0)
    np.testing.assert_allclose(found, features.sum(0) * 2e-20, rtol=1e-5)


def test_without_its_relu_xgrad_cam_is_signed() -> None:
    signed, cut = explained("xgrad-cam", "middle", relu=False), explained("xgrad-cam", "middle")
    assert signed.outcome.signed
    assert signed.outcome.map.min() < 0
    np.testing.assert_array_equal(np.maximum(signed.outcome.map, 0), cut.outcome.map)
