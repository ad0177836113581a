"""Gradient, input × gradient and SmoothGrad against slow oracles, option by option."""

from itertools import product

import numpy as np
import pytest
import torch

from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods import METHODS
from salience_service.methods.method import Extent
from salience_service.methods.options import resolve
from salience_service.methods.probe import GradientAnswer, Gradients
from salience_service.targets.target import Target
from tests.oracle import gradient as oracle
from tests.support.answering import Scene, class_target, with_another_head
from tests.support.gradients import CLASS, SCENE, SIZE, TARGETS, explained, noises, value_of

CHOICES = list(product(["absolute", "positive", "signed"], ["max", "sum"]))
METHODS_OF_PIXELS = ("gradient", "input-x-gradient", "smooth-grad")


def close(found: np.ndarray, wanted: torch.Tensor) -> None:
    """Equal to 1e-5 of the greatest absolute value."""
    scale = float(wanted.abs().max())
    assert scale > 1e-3
    assert found.dtype == np.float32
    np.testing.assert_allclose(found / scale, wanted.numpy() / scale, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(("values", "reduction"), CHOICES)
def test_gradient_equals_its_oracle(values: str, reduction: str, target: Target) -> None:
    found = explained("gradient", target=target, values=values, reduction=reduction).outcome
    assert found.signed is (values == "signed")
    wanted = oracle.gradient(SCENE.network, SCENE.image, value_of(target), values, reduction)
    close(found.map, wanted)


def test_by_default_a_pixel_gets_its_greatest_absolute_derivative() -> None:
    wanted = oracle.gradient(SCENE.network, SCENE.image, value_of(TARGETS[0]))
    close(explained("gradient").outcome.map, wanted)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_input_x_gradient_equals_its_oracle(target: Target) -> None:
    found = explained("input-x-gradient", target=target).outcome
    assert found.signed
    assert found.map.min() < 0 < found.map.max()
    close(found.map, oracle.input_x_gradient(SCENE.network, SCENE.image, value_of(target)))


def test_input_x_gradient_of_a_linear_model_sums_to_the_logit() -> None:
    """Its biases left out; the pyramid with identities for its ReLU and mean for its max."""
    network = with_another_head(SCENE.network.float())
    SCENE.network.double()
    network.act, network.pool = torch.nn.Identity(), torch.nn.AvgPool2d(3, 2)
    for layer in (network.fine, network.middle, network.coarse, network.head):
        torch.nn.init.zeros_(layer.bias)
    scene = Scene(network.double(), SCENE.image, SCENE.fill)
    with torch.no_grad():
        logit = float(network(SCENE.image[None])[0, CLASS])
    found = explained("input-x-gradient", scene=scene).outcome.map
    assert float(found.sum(dtype=np.float64)) == pytest.approx(logit, rel=1e-4)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(("values", "reduction"), CHOICES)
def test_smooth_grad_equals_its_oracle(values: str, reduction: str, target: Target) -> None:
    found = explained(
        "smooth-grad", target=target, samples=6, seed=9, values=values, reduction=reduction
    ).outcome
    assert found.signed is (values == "signed")
    drawn = noises(1.0, 9, 6)
    wanted = oracle.smooth_grad(
        SCENE.network, SCENE.image, drawn, value_of(target), values, reduction
    )
    scale = float(wanted.abs().max())
    np.testing.assert_allclose(found.map / scale, wanted.numpy() / scale, atol=1e-3)


def test_noise_can_be_a_share_of_the_images_range() -> None:
    span = float(SCENE.image.max() - SCENE.image.min())
    found = explained("smooth-grad", samples=2, sigma=0.15, unit="range")
    for probe, noise in zip(found.probes, noises(0.15 * span, 0, 2), strict=True):
        assert isinstance(probe, Gradients)
        np.testing.assert_allclose(probe.image, (SCENE.image + noise).numpy(), atol=1e-5)


def test_without_noise_smooth_grad_is_the_gradient() -> None:
    smooth = explained("smooth-grad", samples=3, sigma=0, reduction="max").outcome.map
    np.testing.assert_allclose(smooth, explained("gradient").outcome.map, rtol=1e-6)


def test_a_seed_repeats_its_map_and_another_seed_does_not() -> None:
    maps = [explained("smooth-grad", samples=3, seed=n).outcome.map for n in (0, 0, 2**32 - 1)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 0.01 * maps[0].max()


def test_partial_maps_come_every_five_images_and_are_the_maps_of_so_many() -> None:
    heard = explained("smooth-grad", samples=10)
    (partial,) = heard.partials
    assert (partial.tap, partial.fraction) == ("", 0.5)
    np.testing.assert_array_equal(partial.map, explained("smooth-grad", samples=5).outcome.map)


@pytest.mark.parametrize(
    ("method", "options", "count"),
    [("gradient", {}, 1), ("input-x-gradient", {}, 1), ("smooth-grad", {"samples": 7}, 7)],
)
def test_as_many_gradients_to_the_image_alone_are_taken_as_were_said(
    method: str, options: dict[str, int], count: int
) -> None:
    heard = explained(method, **options)
    named = METHODS[method]
    assert named.rows(Extent((), *SIZE), named.options(**options)) == count == len(heard.probes)
    for probe in heard.probes:
        assert isinstance(probe, Gradients)
        assert (probe.taps, probe.of_image) == ((), True)
    assert heard.outcome.map.shape == SIZE
    assert named.rows(Extent((), *SIZE), METHODS["smooth-grad"].options()) == (
        50 if method == "smooth-grad" else 1
    )


@pytest.mark.parametrize("method", METHODS_OF_PIXELS)
def test_a_gradient_that_is_not_a_number_is_an_error_and_no_map(method: str) -> None:
    base = SCENE.base(TARGETS[0])
    run = METHODS[method].run(base, METHODS[method].options())
    next(run)
    with pytest.raises(NotPossible, match="NaN or infinite"):
        run.send(GradientAnswer(1.0, np.full_like(base.image, np.nan), {}))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {"values": "relu"}),
        ("gradient", {"reduction": "mean"}),
        ("smooth-grad", {"samples": 0}),
        ("smooth-grad", {"samples": 1001}),
        ("smooth-grad", {"sigma": -0.1}),
        ("smooth-grad", {"sigma": 100.1}),
        ("smooth-grad", {"seed": 2**32}),
        ("smooth-grad", {"unit": "pixels"}),
    ],
)
def test_options_outside_their_limits_are_refused(method: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=rf"option {next(iter(options))} is "):
        resolve(METHODS[method].options, options)


@pytest.mark.parametrize("method", METHODS_OF_PIXELS)
def test_two_classes_differ_and_another_last_layer_changes_the_map(method: str) -> None:
    other = Scene(with_another_head(SCENE.network.float()).double(), SCENE.image, SCENE.fill)
    SCENE.network.double()
    options = {"samples": 4} if method == "smooth-grad" else {}
    own = explained(method, **options).outcome.map
    scale = np.abs(own).max()
    of_zero = explained(method, target=class_target(0), **options).outcome.map
    elsewhere = explained(method, scene=other, **options).outcome.map
    assert np.abs(own - of_zero).max() > 0.05 * scale
    assert np.abs(own - elsewhere).max() > 0.05 * scale
