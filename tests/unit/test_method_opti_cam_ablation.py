"""Opti-CAM's objectives and normalisers, those of the paper's ablation, against autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.errors import InvalidRequest
from salience_service.interpolation import unit_range
from salience_service.methods.method import Extent
from salience_service.methods.optimised.normalisers import INSIDE, NORMALISERS, OUTSIDE, Side
from salience_service.methods.optimised.opti_cam import OptiCamOptions, opti_cam, opti_cam_rows
from salience_service.methods.options import resolve
from salience_service.methods.probe import Gradients, MapGradient, MapGradientAnswer
from salience_service.targets.target import Target, TargetKind
from tests.oracle.opti_cam import normalised
from tests.oracle.opti_cam import opti_cam as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid

CLASS = 2
SCENE = Scene.of(pyramid(nn.Softplus())).double()
OBJECTIVES = ("mask", "diff", "iomask", "iodiff")
BOTH_SIDES = ("iomask", "iodiff")
TARGETS = {
    "class": (class_target(CLASS), lambda logits: logits[CLASS]),
    "absent": (
        Target("not:2", TargetKind.ABSENT, CLASS, class_target(CLASS).output),
        lambda logits: -logits[CLASS],
    ),
}


def explained(kind: str = "class", **options: float | str) -> Heard:
    target, _ = TARGETS[kind]
    asked = OptiCamOptions(stop="none", **options)
    return hear(opti_cam(SCENE.base(target, "coarse"), asked), SCENE, target)


def climbs(steps: int, objective: str, normaliser: str, kind: str = "class"):
    given = SCENE.network, SCENE.image, SCENE.features("coarse"), TARGETS[kind][1], SCENE.fill
    return oracle(*given, steps, kind=objective, normaliser=normaliser)


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", TARGETS)
def test_ten_steps_of_every_objective_and_normaliser_keep_the_oracles_best_map(
    objective: str, normaliser: str, kind: str
) -> None:
    values, maps = climbs(10, objective, normaliser, kind)
    heard = explained(kind, iterations=10, objective=objective, normaliser=normaliser)
    best = maps[int(np.argmax(values))].numpy()
    np.testing.assert_allclose(unit_range(heard.outcome.map), unit_range(best), atol=1e-4)
    assert np.ptp([unit_range(each.numpy()) for each in maps], axis=0).max() > 1e-3, "it climbed"
    assert heard.gradients == 11 * (2 if objective in BOTH_SIDES else 1)


def test_objectives_and_normalisers_make_different_maps() -> None:
    found = [
        unit_range(explained(iterations=10, objective=objective, normaliser=normaliser).outcome.map)
        for objective in ("mask", "iomask")
        for normaliser in NORMALISERS
    ]
    apart = [np.abs(one - other).max() for i, one in enumerate(found) for other in found[:i]]
    assert min(apart) > 1e-3


def test_diff_climbs_as_mask_below_the_images_value_and_turns_above_it() -> None:
    turned = []
    for index in range(6):
        target = class_target(index)
        base = SCENE.base(target, "coarse")
        mask, diff = (
            hear(opti_cam(base, OptiCamOptions(iterations=1, objective=each)), SCENE, target)
            for each in ("mask", "diff")
        )
        above = mask.values[0] > target.value(base.logits)
        steps = [heard.probes[1].map - heard.probes[0].map for heard in (mask, diff)]
        assert np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1] * (-1 if above else 1) > 0.99
        turned.append(above)
    assert set(turned) == {True, False}


def asked_once(normaliser: str, image_map: np.ndarray, side: Side) -> tuple[Heard, torch.Tensor]:
    """What a normaliser hears of one map, and the float64 gradient."""
    target, value = TARGETS["class"]
    shown = NORMALISERS[normaliser](SCENE.base(target, "coarse"))
    leaf = torch.from_numpy(image_map.copy()).double().requires_grad_()
    up = nn.functional.interpolate(leaf[None, None], SCENE.image.shape[1:], mode="bilinear")[0, 0]
    mask = side.scale * normalised(up, normaliser) + side.shift
    row = SCENE.fill + mask * (SCENE.image - SCENE.fill)
    (exact,) = torch.autograd.grad(value(SCENE.network(row[None])[0]), leaf)
    return hear(shown(image_map, side), SCENE, target), exact


@pytest.mark.parametrize("side", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_to_the_map_equals_float64_autograd(
    normaliser: str, side: Side, seed: int
) -> None:
    image_map = np.random.default_rng(seed).normal(size=(7, 5)).astype(np.float32)
    heard, exact = asked_once(normaliser, image_map, side)
    assert float(exact.norm()) > 1e-3
    error = np.linalg.norm(heard.outcome.gradient - exact.numpy()) / float(exact.norm())
    assert error < 1e-5


def test_the_maximum_is_shared_among_equal_pixels_as_torch_shares_it() -> None:
    image_map = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    image_map[0, 0] = image_map[6, 4] = 5  # A corner is held, so that several pixels equal it.
    heard, exact = asked_once("max", image_map, INSIDE)
    assert np.linalg.norm(heard.outcome.gradient - exact.numpy()) < 1e-5 * float(exact.norm())


def test_a_map_without_a_positive_value_has_no_maximum_and_ends_the_climb() -> None:
    target = TARGETS["class"][0]
    base = SCENE.base(target, "coarse")
    negative = replace(base, features={"coarse": -base.features["coarse"] - 1})
    heard = hear(opti_cam(negative, OptiCamOptions(normaliser="max")), SCENE, target)
    assert (heard.gradients, heard.outcome.iterations) == (1, 0)
    assert np.isfinite(heard.outcome.map).all()
    assert heard.values == [
        pytest.approx(float(SCENE.network(SCENE.fill[None])[0, CLASS].detach()))
    ]


def test_a_great_map_does_not_overflow_the_sigmoid() -> None:
    image_map = np.linspace(-2000, 2000, 35).reshape(7, 5).astype(np.float32)
    heard, _ = asked_once("sigmoid", image_map, INSIDE)
    assert np.isfinite(heard.outcome.gradient).all()


def test_the_defaults_ask_what_they_always_asked() -> None:
    heard = explained(iterations=1)
    default = explained(iterations=1, objective="mask", normaliser="range")
    for one, other in zip(heard.probes, default.probes, strict=True):
        assert isinstance(one, MapGradient)
        assert (one.normalise, one.scale, one.shift) == (True, 1, 0)
        np.testing.assert_array_equal(one.map, other.map)


@pytest.mark.parametrize(
    ("normaliser", "probe"), [("range", MapGradient), ("max", MapGradient), ("sigmoid", Gradients)]
)
def test_the_inverted_mask_is_asked_for_after_the_mask(normaliser: str, probe: type) -> None:
    heard = explained(iterations=1, objective="iomask", normaliser=normaliser)
    assert [type(each) for each in heard.probes] == [probe] * 4


def test_a_diff_that_is_met_ends_the_climb() -> None:
    target, _ = TARGETS["class"]
    base = SCENE.base(target, "coarse")
    run = opti_cam(base, OptiCamOptions(objective="diff", stop="none"))
    probe = next(run)
    met = float(target.value(base.logits))
    run.send(MapGradientAnswer(met, np.ones_like(probe.map)))  # A partial map.
    with pytest.raises(StopIteration) as ended:
        next(run)
    assert (ended.value.value.iterations, ended.value.value.converged) == (0, True)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_rows_expected_are_the_gradients_taken_at_most(objective: str) -> None:
    options = OptiCamOptions(iterations=3, stop="none", objective=objective)
    expected = opti_cam_rows(Extent((9,), 54, 42), options)
    assert explained(iterations=3, objective=objective).gradients == expected


@pytest.mark.parametrize(
    ("option", "words"),
    [("objective", "mask, diff, iomask, iodiff"), ("normaliser", "range, max, sigmoid")],
)
def test_an_unknown_objective_or_normaliser_is_refused(option: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=f"option {option} is 'best': give one of {words}"):
        resolve(OptiCamOptions, {option: "best"})
