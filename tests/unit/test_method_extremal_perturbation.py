"""Extremal perturbation against its oracle; its smooth masks and its pyramid against autograd."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods.method import Extent
from salience_service.methods.optimised.extremal_perturbation import (
    ExtremalPerturbationOptions,
    area_gradient,
    extremal_perturbation,
    extremal_perturbation_rows,
)
from salience_service.methods.optimised.perturbation import blurred, perturbation
from salience_service.methods.optimised.smooth_mask import SmoothMask
from salience_service.methods.options import resolve
from salience_service.methods.probe import GradientAnswer
from salience_service.targets.target import Target, TargetKind
from tests.oracle import extremal_perturbation as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid, with_another_head

CLASS = 2
NETWORK = pyramid(nn.Softplus())
SCENE = Scene.of(NETWORK).double()
SIDES = (54, 42)


TARGET = class_target(CLASS)


def explained(target: Target = TARGET, scene: Scene = SCENE, **options) -> Heard:
    asked = ExtremalPerturbationOptions(**options)
    return hear(extremal_perturbation(scene.base(target), asked), scene, target)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["blur", "fade"])
def test_eight_steps_equal_the_oracle_step_by_step(kind: str) -> None:
    """One step at a time is what partial maps cannot tell, so the method is run to each."""
    masks, _ = oracle.extremal_perturbation(
        SCENE.network, SCENE.image, SCENE.fill, lambda y: y[CLASS], 0.2, 8, kind
    )
    assert (masks[0] - masks[-1]).abs().max() > 0.1
    for steps, expected in enumerate(masks, 1):
        found = explained(areas="0.2", iterations=steps, perturbation=kind).outcome.map
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)


def test_an_absent_target_is_climbed_down() -> None:
    target = Target("not:2", TargetKind.ABSENT, CLASS, class_target(CLASS).output)
    masks, _ = oracle.extremal_perturbation(
        SCENE.network, SCENE.image, SCENE.fill, lambda y: -y[CLASS], 0.2, 4
    )
    found = explained(target, areas="0.2", iterations=4).outcome.map
    np.testing.assert_allclose(found, masks[-1].numpy(), rtol=0, atol=1e-5)
    assert np.abs(found - explained(areas="0.2", iterations=4).outcome.map).max() > 1e-3


@pytest.mark.parametrize("height", [7, 8, 54])
def test_a_smooth_mask_and_its_gradient_equal_the_oracles(height: int) -> None:
    smooth = SmoothMask(height, 42)
    cells = numbers(*smooth.cells)
    leaf = torch.from_numpy(cells).double().requires_grad_()
    expected = oracle.drawn(leaf, oracle.seen_cells(height, 42))
    mask = smooth.draw(cells)
    assert mask.shape == expected.shape
    np.testing.assert_allclose(mask, expected.detach().numpy(), rtol=0, atol=1e-5)
    coming = numbers(*mask.shape, seed=1) - 0.5
    (exact,) = torch.autograd.grad((expected * torch.from_numpy(coming).double()).sum(), leaf)
    found = smooth.back(cells, mask, coming)
    assert np.linalg.norm(found - exact.numpy()) < 1e-4 * float(exact.norm())


@pytest.mark.parametrize("kind", ["blur", "fade"])
def test_a_perturbed_image_and_its_gradient_equal_the_oracles(kind: str) -> None:
    base = SCENE.base(class_target(CLASS))
    levels = perturbation(base, kind)
    difference = SCENE.image - SCENE.fill
    exact_levels = SCENE.fill + oracle.pyramid(difference, kind)
    np.testing.assert_allclose(levels.levels, exact_levels.numpy(), rtol=0, atol=1e-5)
    mask = numbers(*SIDES)
    leaf = torch.from_numpy(mask).double().requires_grad_()
    shown = oracle.between(exact_levels, leaf)
    np.testing.assert_allclose(levels.apply(mask), shown.detach().numpy(), rtol=0, atol=1e-5)
    coming = numbers(3, *SIDES, seed=1) - 0.5
    (exact,) = torch.autograd.grad((shown * torch.from_numpy(coming).double()).sum(), leaf)
    np.testing.assert_allclose(levels.back(mask, coming), exact.numpy(), rtol=0, atol=1e-4)


def test_a_whole_mask_shows_the_image_and_an_empty_one_the_first_level() -> None:
    base = SCENE.base(class_target(CLASS))
    for kind in ("blur", "fade"):
        levels = perturbation(base, kind)
        np.testing.assert_allclose(levels.apply(np.ones(SIDES, np.float32)), base.image, atol=1e-6)
        hidden = levels.apply(np.zeros(SIDES, np.float32))
        np.testing.assert_allclose(hidden, levels.levels[0], atol=1e-6)
    np.testing.assert_array_equal(hidden, base.fill)


def test_a_blur_sees_the_fill_beyond_the_border() -> None:
    base = SCENE.base(class_target(CLASS))
    plain = replace(base, image=base.fill + 1)
    first = perturbation(plain, "blur").levels[0]
    assert (first[0, 0, 0] < first[0, 27, 21]).all()
    assert (first > plain.fill).all()
    np.testing.assert_array_equal(
        perturbation(replace(base, image=base.fill), "blur").levels[0], base.fill
    )


def test_a_blur_of_sigma_one_is_the_gaussian_of_every_textbook() -> None:
    dot = np.zeros((1, 21, 21), np.float32)
    dot[0, 10, 10] = 1
    found = blurred(dot, 1.0)[0]
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found[10, 11] / found[10, 10] == pytest.approx(math.exp(-0.5), rel=1e-5)
    assert found[12, 11] / found[10, 10] == pytest.approx(math.exp(-2.5), rel=1e-5)


@pytest.mark.parametrize("area", [0.001, 0.1, 0.5, 0.999])
def test_the_areas_gradient_equals_autograd(area: float) -> None:
    mask = numbers(30, 20)
    leaf = torch.from_numpy(mask).double().requires_grad_()
    wanted = torch.zeros(600, dtype=torch.float64)
    wanted[int(600 * (1 - area)) :] = 1
    ((leaf.flatten().sort(stable=True)[0] - wanted) ** 2).mean().backward()
    np.testing.assert_allclose(area_gradient(mask, area), leaf.grad.numpy(), atol=1e-8)


def test_equal_pixels_keep_their_order() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (60, 60)).astype(np.float32) / 2
    ones = np.flatnonzero(mask)
    wanted = np.zeros(mask.size)
    wanted[ones[-900:]] = 1
    found = area_gradient(mask, 0.25).ravel()
    np.testing.assert_allclose(found, 2 / mask.size * (mask.ravel() - wanted), atol=1e-9)


def test_a_long_climb_reaches_its_area_and_a_greater_area_shows_more() -> None:
    """An area counts the margins: a tenth of the mask is a third of this small image.

    A mask may spend some of it on the margins, and its slopes count half.
    """
    in_margins = SmoothMask(*SIDES).draw(np.ones((8, 6), np.float32)).size / math.prod(SIDES)
    found = [explained(areas=area, iterations=150).outcome.map for area in ("0.15", "0.25")]
    seen = [float((mask > 0.5).mean()) for mask in found]
    assert seen == sorted(set(seen))
    for area, share in zip((0.15, 0.25), seen, strict=True):
        assert 0.4 * area * in_margins < share < 1.3 * area * in_margins


def test_several_areas_are_the_mean_of_each_alone() -> None:
    one, other = (explained(areas=area, iterations=3).outcome.map for area in ("0.1", "0.3"))
    both = explained(areas="0.1, 0.3", iterations=3)
    np.testing.assert_allclose(both.outcome.map, (one + other) / 2, atol=1e-7)
    assert np.abs(one - other).max() > 1e-3
    assert both.gradients == 6


def test_partial_maps_are_the_mean_of_the_masks_so_far() -> None:
    heard = explained(areas="0.1,0.3", iterations=20)
    assert [partial.fraction for partial in heard.partials] == [0, 0.25, 0.5, 0.75]
    assert {partial.tap for partial in heard.partials} == {""}
    first = explained(areas="0.1", iterations=20)
    np.testing.assert_array_equal(heard.partials[1].map, first.partials[1].map)
    second = explained(areas="0.3", iterations=20)
    expected = (first.outcome.map + second.partials[1].map) / 2
    np.testing.assert_allclose(heard.partials[3].map, expected, atol=1e-7)


def test_the_same_request_gives_the_same_bits() -> None:
    one, other = (explained(iterations=5).outcome.map for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_the_map_is_a_mask_and_tells_its_steps() -> None:
    outcome = explained(iterations=3).outcome
    assert (outcome.map.shape, outcome.map.dtype) == (SIDES, np.float32)
    assert (outcome.signed, outcome.iterations, outcome.converged) == (False, 3, True)


def test_every_other_step_sees_the_mirrored_image() -> None:
    first, second = explained(iterations=2).probes
    base = SCENE.base(class_target(CLASS))
    assert _nearer(first.image[..., ::-1], first.image, base.image)
    assert _nearer(second.image, second.image[..., ::-1], base.image)


def _nearer(one: np.ndarray, other: np.ndarray, image: np.ndarray) -> bool:
    return float(np.abs(one - image).mean()) < 0.5 * float(np.abs(other - image).mean())


def test_two_classes_differ() -> None:
    maps = [explained(class_target(index), iterations=10).outcome.map for index in (0, CLASS)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_another_last_layer_changes_the_map() -> None:
    other = Scene.of(with_another_head(NETWORK)).double()
    maps = [explained(scene=scene, iterations=10).outcome.map for scene in (SCENE, other)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_an_image_of_nothing_but_fill_is_decided_by_the_area_alone() -> None:
    blank = replace(SCENE, image=SCENE.fill)
    found = explained(scene=blank, iterations=30).outcome.map
    assert np.isfinite(found).all()


def test_a_gradient_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = extremal_perturbation(SCENE.base(class_target(CLASS)), ExtremalPerturbationOptions())
    next(run)
    probe = next(run)
    with pytest.raises(NotPossible, match="NaN or infinite"):
        run.send(GradientAnswer(1.0, np.full_like(probe.image, np.nan), {}))


@pytest.mark.parametrize(
    "areas",
    ["", ",", "0.1,", "0", "1", "-0.1", "nan", "inf", "a half", "0.1;0.2", "0.1 0.2"],
)
def test_areas_that_are_none_are_refused_in_words(areas: str) -> None:
    assert_refused(areas)


def test_more_than_eight_areas_and_a_long_text_are_refused() -> None:
    assert_refused(",".join(["0.1"] * 9))
    assert_refused("0.1" + " " * 200)


def assert_refused(areas: str) -> None:
    with pytest.raises(InvalidRequest, match=r"option areas is .*1 to 8 areas.*\(default 0\.1\)"):
        resolve(ExtremalPerturbationOptions, {"areas": areas})


@pytest.mark.parametrize("areas", ["0.001", "0.999", ",".join(["0.1"] * 8), " 0.1 , 0.2 "])
def test_areas_at_their_limits_are_taken(areas: str) -> None:
    options = resolve(ExtremalPerturbationOptions, {"areas": areas, "iterations": 2000})
    count = len(areas.split(","))
    assert extremal_perturbation_rows(Extent((), 54, 42), options) == 2000 * count


@pytest.mark.parametrize("iterations", [0, 2001])
def test_iterations_outside_their_limits_are_refused(iterations: int) -> None:
    with pytest.raises(InvalidRequest, match=r"option iterations is .*from 1 to 2000"):
        resolve(ExtremalPerturbationOptions, {"iterations": iterations})
