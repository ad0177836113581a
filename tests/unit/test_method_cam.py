"""CAM against its oracle: the last layer's weights, as the rows of a tail tell them."""

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.interpolation import unit_range
from salience_service.methods.activation.cam import CamOptions, cam
from salience_service.methods.method import Extent, row_a_channel
from salience_service.methods.probe import ChannelRows, Outcome, RowAnswers
from salience_service.targets.target import Target, TargetKind
from tests.oracle.cam import cam as oracle
from tests.support.answering import Pyramid, Scene, class_target, hear
from tests.support.networks import seeded

CLASS = 2
SOFTMAX = OutputKind.SOFTMAX


class Pooled(Pyramid):
    """The pyramid with a head of global average pooling and one linear layer."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__(activation)
        self.head = nn.Linear(9, 6)
        with torch.no_grad():
            self.head.bias.mul_(30)  # Large beside the weights, which must still be exact.

    def after(self, tap: str, features: torch.Tensor) -> torch.Tensor:
        if tap == "coarse":
            return self.head(features.mean((2, 3)))
        return super().after(tap, features)


def pooled(activation: nn.Module | None = None) -> Pooled:
    network = seeded(lambda: Pooled(activation))
    assert isinstance(network, Pooled)
    return network


SCENE = Scene.of(pooled())
SIGNED = Scene.of(pooled(nn.Tanh()))


def explained(scene: Scene, target: Target, **options: bool) -> Outcome:
    run = cam(scene.base(target, "coarse"), CamOptions(**options))
    return hear(run, scene, target).outcome


def expected(scene: Scene, mix: dict[int, float]) -> np.ndarray:
    weight = scene.network.head.weight.detach().double()
    mixed = sum(share * weight[index] for index, share in mix.items())
    return oracle(mixed, scene.features("coarse").double()).numpy()


TARGETS = [
    (class_target(CLASS), {CLASS: 1.0}),
    (Target("not:2", TargetKind.ABSENT, CLASS, SOFTMAX), {CLASS: -1.0}),
    (Target("2-4", TargetKind.DIFFERENCE, CLASS, SOFTMAX, 4), {CLASS: 1.0, 4: -1.0}),
    (class_target(CLASS, OutputKind.REGRESSION), {CLASS: 1.0}),
]


@pytest.mark.parametrize("scene", [SCENE, SIGNED], ids=["relu", "signed"])
@pytest.mark.parametrize(("target", "mix"), TARGETS, ids=["class", "not", "less", "regression"])
def test_cam_equals_its_oracle_not_only_after_min_max(
    scene: Scene, target: Target, mix: dict[int, float]
) -> None:
    outcome, exact = explained(scene, target), expected(scene, mix)
    assert outcome.signed
    assert exact.min() < 0
    np.testing.assert_allclose(outcome.map, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_a_relu_cuts_evidence_against_off_and_the_map_is_no_longer_signed() -> None:
    cut = explained(SCENE, class_target(CLASS), relu=True)
    assert not cut.signed
    whole = explained(SCENE, class_target(CLASS)).map
    np.testing.assert_array_equal(cut.map, np.maximum(whole, 0))
    assert (whole < 0).any()


def test_a_class_and_its_absence_are_opposite() -> None:
    target, absent = (explained(SCENE, TARGETS[place][0]).map for place in (0, 1))
    np.testing.assert_allclose(target, -absent, atol=1e-6)


def test_two_classes_differ_and_another_last_layer_changes_the_map() -> None:
    maps = [unit_range(explained(SCENE, class_target(index)).map) for index in (0, CLASS)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05
    network = pooled()
    with torch.no_grad():
        network.head.weight.mul_(-1)
    other = explained(Scene.of(network), class_target(CLASS)).map
    np.testing.assert_allclose(other, -explained(SCENE, class_target(CLASS)).map, atol=1e-5)


def test_targets_ask_for_one_run_of_rows() -> None:
    features = SCENE.base(class_target(0), "coarse").features
    voices = []
    for index in range(3):
        base = SCENE.base(class_target(index), "coarse")
        run = cam(
            type(base)(features, base.logits, base.target, base.image, base.fill), CamOptions()
        )
        voices.append(Voice(index, base.target, run, next(run)))
    assert unison(voices) == voices


def test_rows_are_one_a_channel_and_one_of_nothing() -> None:
    run = cam(SIGNED.base(class_target(CLASS), "coarse"), CamOptions())
    probe = next(run)
    assert isinstance(probe, ChannelRows)
    assert probe.kept.shape == (10, 9)
    assert row_a_channel(Extent((9,), 54, 42), CamOptions()) == 10


def test_dead_channels_are_not_asked_for() -> None:
    network = pooled()
    with torch.no_grad():
        network.coarse.weight[[0, 4, 8]] = 0
        network.coarse.bias[[0, 4, 8]] = -1
    scene, target = Scene.of(network), class_target(CLASS)
    dead = int((scene.features("coarse") == 0).all(dim=2).all(dim=1).sum())
    assert 3 <= dead < 8
    heard = hear(cam(scene.base(target, "coarse"), CamOptions()), scene, target)
    (probe,) = heard.probes
    assert isinstance(probe, ChannelRows)
    assert (heard.rows, probe.spared) == (10 - dead, dead)
    exact = expected(scene, {CLASS: 1.0})
    np.testing.assert_allclose(heard.outcome.map, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_dead_features_give_zeros() -> None:
    network = pooled()
    with torch.no_grad():
        network.coarse.weight.zero_()
        network.coarse.bias.fill_(-1)
    scene, target = Scene.of(network), class_target(CLASS)
    assert not scene.features("coarse").any()
    heard = hear(cam(scene.base(target, "coarse"), CamOptions()), scene, target)
    assert heard.rows == 1
    assert not heard.outcome.map.any()


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = cam(SIGNED.base(class_target(CLASS), "coarse"), CamOptions())
    next(run)
    with pytest.raises(NotPossible, match="10 of 10 masked images"):
        run.send(RowAnswers(np.full((10, 6), np.nan, np.float32)))
