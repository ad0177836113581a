"""IS-CAM against its oracle, its steps, and its partial maps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.interpolation import unit_range
from salience_service.methods.method import Extent
from salience_service.methods.options import resolve
from salience_service.methods.probe import Partial, RowAnswers
from salience_service.methods.rows.is_cam import IsCamOptions, is_cam, is_cam_rows
from salience_service.methods.rows.score_cam import ScoreCamOptions, score_cam
from salience_service.targets.target import Target, TargetKind
from tests.oracle.smoothed_score_cam import is_cam_masks
from tests.oracle.smoothed_score_cam import smoothed_score_cam as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid
from tests.support.oracles import value_of

CLASS = 3
SCENE = Scene.of(pyramid())


def explained(scene: Scene, target: Target, **options: object) -> Heard:
    run = is_cam(scene.base(target, "coarse"), IsCamOptions(**options))
    return hear(run, scene, target)


def expected(value, masks_of, weights: str = "softmax") -> np.ndarray:
    exact = SCENE.double()
    features = exact.features("coarse")
    with torch.no_grad():
        image_map = oracle(
            exact.network, exact.image, features, value, exact.fill, masks_of, weights
        )
    return unit_range(image_map.numpy())


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(
    ("score", "weights"), [("logit", "softmax"), ("probability", "raw"), ("logit", "raw")]
)
def test_is_cam_equals_its_oracle(score: str, weights: str, accumulate: bool) -> None:
    options = {"score": score, "weights": weights, "accumulate": accumulate}
    found = unit_range(explained(SCENE, class_target(CLASS), **options).outcome.map)
    exact = expected(value_of(CLASS, score), is_cam_masks(10, accumulate), weights)
    assert exact.max() == 1
    assert np.abs(found - exact).max() < 1e-4


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (Target("not", TargetKind.ABSENT, 1, OutputKind.SOFTMAX), lambda y: -y[1]),
        (Target("-", TargetKind.DIFFERENCE, 1, OutputKind.SOFTMAX, 4), lambda y: y[1] - y[4]),
        (class_target(1, OutputKind.REGRESSION), lambda y: y[1]),
    ],
)
def test_every_kind_of_target_equals_its_oracle(target: Target, value) -> None:
    found = unit_range(explained(SCENE, target, steps=3).outcome.map)
    assert np.abs(found - expected(value, is_cam_masks(3))).max() < 1e-4


def test_one_step_is_score_cam() -> None:
    target = class_target(CLASS)
    for accumulate in (False, True):
        one = explained(SCENE, target, steps=1, accumulate=accumulate).outcome.map
        run = score_cam(SCENE.base(target, "coarse"), ScoreCamOptions())
        # Score-CAM's rows come in another order, and torch's bits depend on their neighbours.
        np.testing.assert_allclose(one, hear(run, SCENE, target).outcome.map, rtol=1e-5)


def test_masks_are_faded_in_and_accumulated_ones_go_far_beyond_the_image() -> None:
    faded = [probe.scale for probe in explained(SCENE, class_target(CLASS)).probes]
    np.testing.assert_allclose(faded, np.arange(1, 11) / 10)
    heard = explained(SCENE, class_target(CLASS), accumulate=True)
    assert heard.probes[-1].scale == pytest.approx(5.5)


def test_the_map_is_shown_after_each_step_and_while_the_first_one_runs() -> None:
    heard = explained(SCENE, class_target(CLASS), steps=4)
    assert [partial.fraction for partial in heard.partials] == [0.25, 0.5, 0.75, 1]
    assert np.array_equal(heard.partials[-1].map, heard.outcome.map)
    first, *others = heard.previews
    assert [round(36 * preview.fraction) for preview in first] == list(range(1, 10))
    assert np.array_equal(first[-1].map, heard.partials[0].map)
    assert others == [[], [], []]


def test_targets_share_the_rows_of_every_step() -> None:
    features = SCENE.base(class_target(0), "coarse").features
    voices = []
    for index in range(2):
        base = replace(SCENE.base(class_target(index), "coarse"), features=features)
        voices.append(Voice(index, base.target, is_cam(base, IsCamOptions())))
    for _ in range(10):
        for voice in voices:
            if voice.probe is None:
                voice.probe = next(voice.run)
            else:
                partial = voice.run.send(RowAnswers(np.zeros((9, 6), np.float32)))
                assert isinstance(partial, Partial)
                voice.probe = next(voice.run)
        assert unison(voices) == voices


def test_flat_features_give_zeros() -> None:
    base = SCENE.base(class_target(CLASS), "coarse")
    flat = replace(base, features={"coarse": np.full((9, 7, 5), 0.3, np.float32)})
    outcome = hear(is_cam(flat, IsCamOptions()), SCENE, class_target(CLASS)).outcome
    assert not unit_range(outcome.map).any()


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = is_cam(SCENE.base(class_target(CLASS), "coarse"), IsCamOptions())
    next(run)
    with pytest.raises(NotPossible, match="9 of 9 masked images"):
        run.send(RowAnswers(np.full((9, 6), np.nan, np.float32)))


def test_steps_are_held_from_1_to_200_and_counted() -> None:
    assert is_cam_rows(Extent((9,), 54, 42), IsCamOptions(steps=200)) == 1800
    for steps in (0, 201):
        with pytest.raises(InvalidRequest, match="from 1 to 200"):
            resolve(IsCamOptions, {"steps": steps})
