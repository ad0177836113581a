"""Opti-CAM: its gradient, its steps and its stops against torch's autograd and Adam."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.errors import InvalidRequest, NotPossible
from salience_service.interpolation import unit_range
from salience_service.methods.asking import climbed
from salience_service.methods.channels import softmax
from salience_service.methods.optimised.adam import Adam
from salience_service.methods.optimised.opti_cam import (
    OptiCamOptions,
    logit_gradient,
    opti_cam,
    plateau,
    still,
)
from salience_service.methods.options import resolve
from salience_service.methods.probe import MapGradient, MapGradientAnswer, Outcome, Partial
from tests.oracle.opti_cam import objective
from tests.oracle.opti_cam import opti_cam as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid, with_another_head

CLASS = 2
SMOOTH = Scene.of(pyramid(nn.Softplus())).double()


def explained(scene: Scene, index: int = CLASS, **options: float | str) -> Heard:
    target = class_target(index)
    return hear(opti_cam(scene.base(target, "coarse"), OptiCamOptions(**options)), scene, target)


def expected(scene: Scene, steps: int, index: int = CLASS) -> tuple[list[float], list[np.ndarray]]:
    exact = scene.double()
    values, maps = oracle(
        exact.network,
        exact.image,
        exact.features("coarse"),
        lambda logits: logits[index],
        exact.fill,
        steps,
    )
    return values, [image_map.numpy() for image_map in maps]


def test_the_gradient_equals_float64_autograd() -> None:
    features = SMOOTH.features("coarse")
    u = torch.linspace(-1, 1, len(features), dtype=torch.float64, requires_grad=True)

    def value(logits):
        return logits[CLASS]

    args = (SMOOTH.network, SMOOTH.image, features, value, SMOOTH.fill)
    (exact,) = torch.autograd.grad(objective(*args, u)[0], u)
    weights = softmax(u.detach().numpy())
    image_map = np.float32(np.tensordot(weights, features.numpy(), 1))
    answer = hear(climbed(MapGradient(image_map)), SMOOTH, class_target(CLASS)).outcome
    found = logit_gradient(weights, features.numpy(), answer.gradient)
    relative = np.linalg.norm(found - exact.numpy()) / np.linalg.norm(exact.numpy())
    assert relative < 1e-6


def test_one_step_equals_torchs_adam() -> None:
    _, maps = expected(SMOOTH, 1)
    run = opti_cam(SMOOTH.base(class_target(CLASS), "coarse"), OptiCamOptions(iterations=1))
    heard = hear(run, SMOOTH, class_target(CLASS))
    stepped = heard.probes[1].map
    assert np.abs(stepped - maps[1]).max() / np.abs(maps[1]).max() < 1e-5
    assert np.abs(maps[1] - maps[0]).max() / np.abs(maps[1]).max() > 1e-3


def test_adam_equals_torchs_over_fifty_steps() -> None:
    generator = np.random.default_rng(0)
    place = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    theirs, ours = torch.optim.Adam([place], lr=0.1), Adam(0.1, 7)
    found = np.zeros(7)
    for _ in range(50):
        gradient = generator.normal(size=7)
        place.grad = torch.from_numpy(-gradient)
        theirs.step()
        found = ours.climb(found, gradient)
    assert np.allclose(found, place.detach().numpy(), rtol=1e-12)


def test_thirty_steps_climb_as_torch_does_and_the_best_map_is_kept() -> None:
    values, maps = expected(SMOOTH, 30)
    heard = explained(SMOOTH, iterations=30, stop="none")
    assert heard.gradients == 31
    assert np.allclose(heard.values, values, rtol=1e-5)
    best = maps[int(np.argmax(values))]
    assert np.abs(unit_range(heard.outcome.map) - unit_range(best)).max() < 1e-4
    assert max(values) > values[0] + 0.1


def test_the_best_map_is_kept_when_later_steps_are_worse() -> None:
    run = opti_cam(SMOOTH.base(class_target(CLASS), "coarse"), OptiCamOptions(iterations=3))
    maps, outcome = _told(run, [1.0, 3.0, 2.0, 2.5])
    assert np.array_equal(outcome.map, maps[1])
    assert not np.array_equal(maps[1], maps[3])
    assert outcome.iterations == 3


def _told(run, values: list[float]) -> tuple[list[np.ndarray], Outcome]:
    """The maps a method asks about when it is told these values, and its outcome."""
    generator = np.random.default_rng(0)
    maps, told, answer = [], iter(values), None
    try:
        while True:
            probe, answer = run.send(answer), None
            if not isinstance(probe, Partial):
                maps.append(probe.map)
                gradient = generator.normal(size=probe.map.shape).astype(np.float32)
                answer = MapGradientAnswer(next(told), gradient)
    except StopIteration as end:
        return maps, end.value


def test_the_map_after_the_last_step_counts() -> None:
    heard = explained(SMOOTH, iterations=1)
    assert heard.values[1] > heard.values[0]
    assert np.array_equal(heard.outcome.map, heard.probes[1].map)
    assert heard.outcome.iterations == 1


def test_partials_come_first_and_every_five_steps() -> None:
    heard = explained(SMOOTH, iterations=12, stop="none")
    assert [partial.fraction for partial in heard.partials] == [0, 5 / 12, 10 / 12]
    assert np.array_equal(heard.partials[0].map, heard.probes[0].map)


def test_a_plateau_stops_early_and_says_so() -> None:
    heard = explained(SMOOTH, iterations=1000)
    assert heard.outcome.converged
    assert heard.outcome.iterations < 1000
    assert heard.outcome.iterations == heard.gradients - 1
    assert not explained(SMOOTH, iterations=3).outcome.converged


@pytest.mark.parametrize(
    ("values", "ended"),
    [
        ([1.0] * 30, False),
        ([1.0] * 31, True),
        ([1.0] + [1.0 + 0.9e-4] * 30, True),
        ([1.0] + [1.0 + 1.1e-4] * 30, False),
        ([-1.0] + [-1.0 + 0.9e-4] * 30, True),
        ([-1.0] + [-1.0 + 1.1e-4] * 30, False),
        ([2.0, *np.linspace(1, 1.9, 30).tolist()], True),
        (np.linspace(1, 2, 50).tolist(), False),
    ],
)
def test_a_plateau_is_thirty_values_that_gain_less_than_a_ten_thousandth(
    values: list[float], ended: bool
) -> None:
    assert plateau(values, 30) is ended


def test_patience_is_how_many_values_a_plateau_lasts() -> None:
    values = [1.0] + [1.0 + 0.9e-4] * 10
    assert plateau(values, 10)
    assert not plateau(values, 11)
    assert not plateau([1.0] + [1.0 + 1.1e-4] * 10, 10)


def test_less_patience_stops_earlier_and_thirty_is_the_default() -> None:
    short, default = explained(SMOOTH, iterations=1000, patience=10), explained(SMOOTH)
    assert OptiCamOptions().patience == 30
    assert short.outcome.converged
    assert short.outcome.iterations < default.outcome.iterations
    assert short.outcome.iterations == short.gradients - 1
    assert max(short.values) == max(default.values[: short.gradients])


@pytest.mark.parametrize("patience", [0, 1001, 2.5])
def test_a_patience_outside_its_limits_is_refused(patience: float) -> None:
    with pytest.raises(InvalidRequest, match=r"option patience is .*from 1 to 1000 \(default 30\)"):
        resolve(OptiCamOptions, {"patience": patience})


def test_the_papers_stop_is_deaf_to_patience() -> None:
    run = opti_cam(
        SMOOTH.base(class_target(CLASS), "coarse"), OptiCamOptions(stop="paper", patience=1)
    )
    _, outcome = _told(run, [1.0, 1.0 + 1e-6, 1.0 + 2e-6, 1.0 + 2e-6])
    assert outcome.iterations == 3


def test_the_papers_stop_is_a_change_below_1e_10() -> None:
    assert still([1.0, 1.0 + 5e-11])
    assert not still([1.0, 1.0 + 2e-10])
    assert not still([1.0])


@pytest.mark.parametrize("stop", ["plateau", "paper", "none"])
def test_flat_features_end_at_once_as_a_flat_map(stop: str) -> None:
    base = SMOOTH.base(class_target(CLASS), "coarse")
    flat = replace(base, features={"coarse": np.full((9, 7, 5), 0.3, np.float32)})
    heard = hear(opti_cam(flat, OptiCamOptions(stop=stop)), SMOOTH, class_target(CLASS))
    assert (heard.gradients, heard.outcome.iterations, heard.outcome.converged) == (1, 0, True)
    assert np.array_equal(unit_range(heard.outcome.map), np.zeros((7, 5)))


def test_a_gradient_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = opti_cam(SMOOTH.base(class_target(CLASS), "coarse"), OptiCamOptions())
    probe = next(run)
    with pytest.raises(NotPossible, match="NaN or infinite"):
        run.send(MapGradientAnswer(1.0, np.full_like(probe.map, np.nan)))


def test_two_classes_differ() -> None:
    maps = [unit_range(explained(SMOOTH, index).outcome.map) for index in (0, CLASS)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_another_last_layer_changes_the_map() -> None:
    other = Scene.of(with_another_head(pyramid(nn.Softplus()))).double()
    assert torch.equal(SMOOTH.features("coarse"), other.features("coarse"))
    maps = [unit_range(explained(scene).outcome.map) for scene in (SMOOTH, other)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05
