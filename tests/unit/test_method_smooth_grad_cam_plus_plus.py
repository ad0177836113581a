"""Smooth Grad-CAM++ against a slow oracle that is given the same noise."""

import numpy as np
import pytest

from salience_service.errors import InvalidRequest
from salience_service.interpolation import unit_range
from salience_service.methods import METHODS
from salience_service.methods.method import Extent
from salience_service.methods.options import resolve
from salience_service.methods.probe import Gradients
from salience_service.targets.target import Target
from tests.oracle.fusion import fuse
from tests.oracle.smooth_grad_cam_plus_plus import smooth_grad_cam_plus_plus
from tests.support.gradients import (
    SCENE,
    SIZE,
    TAPS,
    TARGETS,
    explained,
    noises,
    value_of,
)

NAME = "smooth-grad-cam++"


def taps_and_logits(images):
    features = SCENE.network.taps(images)
    return features, SCENE.network.after("coarse", features["coarse"])


def oracle(tap: str, drawn: list, target: Target = TARGETS[0], mean: bool = False):
    return smooth_grad_cam_plus_plus(
        taps_and_logits, SCENE.image, drawn, tap, value_of(target), mean
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("tap", TAPS)
def test_it_equals_its_oracle(tap: str, target: Target) -> None:
    found = explained(NAME, tap, target=target).outcome
    wanted = oracle(tap, noises(0.3, 0, 4), target).numpy()
    assert wanted.max() > 0
    assert not found.signed
    np.testing.assert_allclose(unit_range(found.map), unit_range(wanted), atol=1e-3)


def test_the_mean_gradient_is_another_choice_with_its_own_oracle() -> None:
    found = unit_range(explained(NAME, "middle", gradient="mean", sigma=1.0).outcome.map)
    wanted = unit_range(oracle("middle", noises(1.0, 0, 4), mean=True).numpy())
    last = unit_range(oracle("middle", noises(1.0, 0, 4)).numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert np.abs(wanted - last).max() > 0.02


def test_several_taps_fuse_as_their_oracle() -> None:
    found = explained(NAME, *TAPS, fusion="max").outcome.map
    wanted = fuse([oracle(tap, noises(0.3, 0, 4)) for tap in TAPS], "max", SIZE).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_seed_repeats_its_map_and_another_seed_does_not() -> None:
    maps = [explained(NAME, "middle", seed=seed, sigma=1).outcome.map for seed in (5, 5, 6)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(unit_range(maps[0]) - unit_range(maps[2])).max() > 1e-3


@pytest.mark.parametrize("samples", [1, 4, 9])
def test_a_gradient_is_taken_of_each_noisy_image_to_all_taps(samples: int) -> None:
    heard = explained(NAME, *TAPS, samples=samples, sigma=0.7, seed=3)
    named = METHODS[NAME]
    extent = Extent((9, 7, 5), *SIZE)
    assert len(heard.probes) == samples == named.rows(extent, named.options(samples=samples))
    for probe, noise in zip(heard.probes, noises(0.7, 3, samples), strict=True):
        assert isinstance(probe, Gradients)
        assert (probe.taps, probe.of_image) == (TAPS, False)
        np.testing.assert_allclose(probe.image, (SCENE.image + noise).numpy(), atol=1e-5)


def test_every_noisy_image_but_the_last_gives_a_partial_map() -> None:
    one = explained(NAME, "coarse")
    assert [(each.tap, each.fraction) for each in one.partials] == [
        ("coarse", share) for share in (0.25, 0.5, 0.75)
    ]
    first = explained(NAME, "coarse", samples=1).outcome.map
    np.testing.assert_array_equal(one.partials[0].map, first)
    assert {each.tap for each in explained(NAME, *TAPS).partials} == {""}


def test_without_noise_samples_change_nothing() -> None:
    maps = [explained(NAME, "coarse", samples=n, sigma=0).outcome.map for n in (1, 3)]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"samples": 0},
        {"samples": 1001},
        {"sigma": -0.1},
        {"sigma": 100.1},
        {"seed": -1},
        {"seed": 2**32},
        {"epsilon": 1.1},
    ],
)
def test_options_outside_their_limits_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match=rf"option {next(iter(options))} is .* from "):
        resolve(METHODS[NAME].options, options)


def test_the_greatest_seed_and_the_greatest_noise_are_taken() -> None:
    found = explained(NAME, "coarse", seed=2**32 - 1, sigma=100, samples=2).outcome.map
    assert np.isfinite(found).all()
