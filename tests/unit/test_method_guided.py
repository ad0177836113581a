"""Guided backpropagation and Guided Grad-CAM against their oracles, on a network of ReLUs."""

import numpy as np
import pytest
from torch import nn

from salience_service.errors import InvalidRequest, NotPossible
from salience_service.methods import METHODS
from salience_service.methods.gradients.gradient import GradientOptions
from salience_service.methods.gradients.guided_backprop import guided_backprop
from salience_service.methods.gradients.guided_grad_cam import (
    guided_grad_cam,
    guided_grad_cam_rows,
)
from salience_service.methods.method import Extent, one_gradient
from salience_service.methods.options import resolve
from salience_service.methods.probe import GradientAnswer, Gradients, Outcome
from salience_service.targets.target import Target, TargetKind
from tests.oracle import guided_backprop as oracle
from tests.oracle.grad_cam import grad_cam
from tests.support.answering import Scene, class_target, guided, hear, pyramid

CLASS = 2
SCENE = Scene.of(pyramid(nn.ReLU())).double()
TARGET = class_target(CLASS)
AGAINST = Target("not:2", TargetKind.ABSENT, CLASS, TARGET.output)
RUNS = {"guided-backprop": (guided_backprop, ()), "guided-grad-cam": (guided_grad_cam, ("middle",))}


def explained(name: str, target: Target = TARGET, **options: str) -> Outcome:
    run, taps = RUNS[name]
    heard = hear(run(SCENE.base(target, *taps), GradientOptions(**options)), SCENE, target)
    rows = {"guided-backprop": one_gradient, "guided-grad-cam": guided_grad_cam_rows}[name]
    assert heard.gradients == rows(Extent((), 54, 42), GradientOptions())
    return heard.outcome


def expected(name: str, sign: int = 1) -> np.ndarray:
    """[C, H, W]."""
    twin = guided(SCENE.network)

    def value(logits):
        return sign * logits[CLASS]

    if name == "guided-backprop":
        return oracle.guided_backprop(twin, SCENE.image, value).numpy()
    cam = grad_cam(lambda x: SCENE.network.after("middle", x), SCENE.features("middle"), value)
    return oracle.guided_grad_cam(twin, SCENE.image, value, cam).numpy()


def in_colours(values: np.ndarray, reduction: str) -> np.ndarray:
    """[C, H, W] as one number a pixel, by a loop over colours."""
    total = np.zeros(values.shape[1:]) if reduction == "sum" else values[0].copy()
    for colour in values:
        if reduction == "sum":
            total += colour
        else:
            total = np.where(np.abs(colour) > np.abs(total), colour, total)
    return total


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("target", "sign"), [(TARGET, 1), (AGAINST, -1)], ids=["for", "against"])
def test_maps_equal_their_oracles(name: str, target: Target, sign: int) -> None:
    exact = expected(name, sign)
    assert np.abs(exact).max() > 1e-3
    found = {
        (values, reduction): explained(name, target, values=values, reduction=reduction)
        for values in ("absolute", "positive", "signed")
        for reduction in ("max", "sum")
    }
    counted = {"absolute": np.abs(exact), "positive": np.maximum(exact, 0), "signed": exact}
    for (values, reduction), outcome in found.items():
        one = in_colours(counted[values], reduction)
        np.testing.assert_allclose(outcome.map, one, rtol=0, atol=1e-5 * np.abs(exact).max())
        assert outcome.signed == (values == "signed")
        assert outcome.map.dtype == np.float32


@pytest.mark.parametrize("name", RUNS)
def test_by_default_the_greatest_absolute_colour_counts(name: str) -> None:
    asked = explained(name, values="absolute", reduction="max")
    np.testing.assert_array_equal(explained(name).map, asked.map)


def test_guided_is_not_the_gradient() -> None:
    target, base = TARGET, SCENE.base(TARGET)

    def asked(guide: bool):
        def run():
            answer = yield Gradients(base.image, of_image=True, guided=guide)
            return Outcome(answer.image)

        return hear(run(), SCENE, target).outcome.map

    assert np.abs(asked(True) - asked(False)).max() > 1e-2 * np.abs(asked(False)).max()


def test_guided_grad_cam_asks_for_the_true_gradient_of_its_tap() -> None:
    run = guided_grad_cam(SCENE.base(TARGET, "middle"), GradientOptions())
    first, second = hear(run, SCENE, TARGET).probes
    assert (first.taps, first.of_image, first.guided) == (("middle",), False, False)
    assert (second.taps, second.of_image, second.guided) == ((), True, True)


def test_where_grad_cam_sees_nothing_the_map_is_zeros() -> None:
    base = SCENE.base(TARGET, "middle")
    run = guided_grad_cam(base, GradientOptions())
    next(run)
    run.send(GradientAnswer(1.0, None, {"middle": -np.ones((7, 13, 10), np.float32)}))
    with pytest.raises(StopIteration) as ended:
        run.send(GradientAnswer(1.0, np.ones_like(base.image), {}))
    np.testing.assert_array_equal(ended.value.value.map, np.zeros((54, 42)))


@pytest.mark.parametrize("name", RUNS)
def test_a_guided_method_says_what_it_needs_and_that_it_fails_sanity_checks(name: str) -> None:
    method = METHODS[name]
    assert method.guided
    assert method.needs_gradient
    assert method.fails_sanity_checks
    assert [each.name for each in METHODS.values() if each.guided] == list(RUNS)


def test_a_guided_gradient_that_is_not_a_number_is_an_error_and_no_map() -> None:
    base = SCENE.base(TARGET)
    run = guided_backprop(base, GradientOptions())
    next(run)
    with pytest.raises(NotPossible, match="NaN or infinite"):
        run.send(GradientAnswer(1.0, np.full_like(base.image, np.nan), {}))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="option values is 'red': give one of absolute"):
        resolve(GradientOptions, {"values": "red"})
