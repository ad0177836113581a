"""Ablation-CAM against its oracle at every tap, and its partial maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.interpolation import unit_range
from salience_service.methods.method import Extent, row_a_channel
from salience_service.methods.probe import ChannelRows, RowAnswers
from salience_service.methods.rows.ablation_cam import AblationCamOptions, ablation_cam
from salience_service.targets.target import Target, TargetKind
from tests.oracle.ablation_cam import ablation_cam as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid

CLASS = 2
SOFTMAX = OutputKind.SOFTMAX
OPTIONS = AblationCamOptions()
SCENE = Scene.of(pyramid())
SIGNED = Scene.of(pyramid(nn.Tanh()))
TARGETS = [
    (class_target(CLASS), lambda y: y[CLASS]),
    (Target("not:2", TargetKind.ABSENT, CLASS, SOFTMAX), lambda y: -y[CLASS]),
    (Target("2-4", TargetKind.DIFFERENCE, CLASS, SOFTMAX, 4), lambda y: y[CLASS] - y[4]),
    (class_target(3, OutputKind.REGRESSION), lambda y: y[3]),
]


def explained(scene: Scene, target: Target, tap: str = "coarse") -> Heard:
    return hear(ablation_cam(scene.base(target, tap), OPTIONS), scene, target)


def expected(scene: Scene, value, tap: str = "coarse") -> np.ndarray:
    exact = scene.double()
    with torch.no_grad():
        image_map = oracle(lambda a: exact.network.after(tap, a), exact.features(tap), value)
    return image_map.numpy()


@pytest.mark.parametrize("scene", [SCENE, SIGNED], ids=["relu", "signed"])
@pytest.mark.parametrize("tap", ["coarse", "middle", "fine"])
@pytest.mark.parametrize(("target", "value"), TARGETS, ids=["class", "not", "less", "regression"])
def test_ablation_cam_equals_its_oracle(scene: Scene, tap: str, target: Target, value) -> None:
    found, exact = explained(scene, target, tap).outcome, expected(scene, value, tap)
    assert exact.max() > 0
    assert not found.signed
    assert np.abs(found.map - exact).max() < 1e-4 * exact.max()


def test_a_negative_value_does_not_turn_the_map_round() -> None:
    """A class that the network finds unlikely, its logit below zero: less of it weighs less."""
    logits = SCENE.base(class_target(CLASS), "coarse").logits
    least = int(logits.argmin())
    assert logits[least] < 0
    raised = pyramid()
    with torch.no_grad():
        raised.head.bias[least] += 10 - float(logits[least])
    maps = [unit_range(explained(s, class_target(least)).outcome.map)
            for s in (SCENE, Scene.of(raised))]  # fmt: skip
    np.testing.assert_allclose(*maps, atol=1e-4)


def test_a_target_of_value_zero_is_explained() -> None:
    target = Target("2-2", TargetKind.DIFFERENCE, CLASS, SOFTMAX, CLASS)
    found = explained(SCENE, target).outcome.map
    assert not unit_range(found).any()
    assert np.isfinite(found).all()


def test_dead_channels_are_not_asked_for() -> None:
    network = pyramid()
    with torch.no_grad():
        network.coarse.weight[[0, 4, 8]] = 0
        network.coarse.bias[[0, 4, 8]] = -1
    scene = Scene.of(network)
    dead = int((scene.features("coarse") == 0).all(dim=2).all(dim=1).sum())
    assert 3 <= dead < 8
    heard = explained(scene, class_target(CLASS))
    (probe,) = heard.probes
    assert isinstance(probe, ChannelRows)
    assert (heard.rows, probe.spared) == (10 - dead, dead)
    assert heard.previews[0][-1].fraction == 1
    exact = expected(scene, TARGETS[0][1])  # Of every channel.
    assert np.abs(heard.outcome.map - exact).max() < 1e-4 * exact.max()


def test_dead_features_give_zeros() -> None:
    network = pyramid()
    with torch.no_grad():
        network.coarse.weight.zero_()
        network.coarse.bias.fill_(-1)
    heard = explained(Scene.of(network), class_target(CLASS))
    assert heard.rows == 1
    assert not heard.outcome.map.any()


def test_previews_sharpen_into_the_map() -> None:
    heard = explained(SIGNED, class_target(CLASS))
    (previews,) = heard.previews
    assert [round(10 * preview.fraction) for preview in previews] == list(range(1, 11))
    assert not previews[0].map.any()
    assert np.array_equal(previews[-1].map, heard.outcome.map)


def test_rows_go_on_from_the_tap_and_targets_share_them() -> None:
    features = SIGNED.base(class_target(0), "coarse").features
    voices = []
    for index in range(3):
        base = replace(SIGNED.base(class_target(index), "coarse"), features=features)
        run = ablation_cam(base, OPTIONS)
        voices.append(Voice(index, base.target, run, next(run)))
    assert isinstance(voices[0].probe, ChannelRows)
    assert voices[0].probe.features is None
    assert unison(voices) == voices
    assert row_a_channel(Extent((9,), 54, 42), OPTIONS) == voices[0].probe.kept.shape[0]


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = ablation_cam(SIGNED.base(class_target(CLASS), "coarse"), OPTIONS)
    rows = next(run)
    logits = np.zeros((10, 6), np.float32)
    logits[3, CLASS] = np.inf
    assert np.isfinite(rows.preview(logits[:3]).map).all()
    with pytest.raises(NotPossible, match="1 of 4 masked images"):
        rows.preview(logits[:4])
    with pytest.raises(NotPossible, match="1 of 10 masked images"):
        run.send(RowAnswers(logits))
