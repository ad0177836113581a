"""SS-CAM against its oracle with the noise that it drew, and what that noise is."""

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
from salience_service.methods.probe import PixelRows, RowAnswers
from salience_service.methods.rows.noisy_masks import Noise, NoisyMasks
from salience_service.methods.rows.score_cam import ScoreCamOptions, score_cam
from salience_service.methods.rows.ss_cam import SsCamOptions, ss_cam, ss_cam_rows
from salience_service.targets.target import Target, TargetKind
from tests.oracle.smoothed_score_cam import smoothed_score_cam as oracle
from tests.oracle.smoothed_score_cam import ss_cam_masks
from tests.support.answering import Heard, Scene, class_target, hear, pyramid
from tests.support.oracles import value_of

CLASS = 2
SCENE = Scene.of(pyramid())
SEVERAL = {"samples": 6, "seed": 11}


def explained(scene: Scene, target: Target, **options: object) -> Heard:
    run = ss_cam(scene.base(target, "coarse"), SsCamOptions(**options))
    return hear(run, scene, target)


def drawn(samples: int, sigma: float, noise: str, seed: int) -> torch.Tensor:
    """The noise of a run, [samples, 9, 54, 42], in float64."""
    return torch.tensor(
        np.array(
            [
                [Noise(sigma, seed, i, noise == "shared").of(k, 54, 42) for k in range(9)]
                for i in range(samples)
            ]
        ),
        dtype=torch.float64,
    )


def expected(value, noise: torch.Tensor, weights: str = "softmax") -> np.ndarray:
    exact = SCENE.double()
    with torch.no_grad():
        image_map = oracle(
            exact.network, exact.image, exact.features("coarse"), value, exact.fill,
            ss_cam_masks(noise), weights,
        )  # fmt: skip
    return unit_range(image_map.numpy())


@pytest.mark.parametrize("noise", ["channel", "shared"])
@pytest.mark.parametrize(
    ("score", "weights"), [("logit", "softmax"), ("probability", "raw"), ("logit", "raw")]
)
def test_ss_cam_equals_its_oracle(score: str, weights: str, noise: str) -> None:
    options = {"score": score, "weights": weights, "noise": noise, "sigma": 0.7}
    found = unit_range(explained(SCENE, class_target(CLASS), **SEVERAL, **options).outcome.map)
    exact = expected(value_of(CLASS, score), drawn(6, 0.7, noise, 11), weights)
    assert exact.max() == 1
    assert np.abs(found - exact).max() < 1e-4


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (Target("not", TargetKind.ABSENT, 1, OutputKind.SOFTMAX), lambda y: -y[1]),
        (Target("-", TargetKind.DIFFERENCE, 1, OutputKind.SOFTMAX, 4), lambda y: y[1] - y[4]),
        (class_target(3, OutputKind.REGRESSION), lambda y: y[3]),
    ],
)
def test_every_kind_of_target_equals_its_oracle(target: Target, value) -> None:
    found = unit_range(explained(SCENE, target, **SEVERAL).outcome.map)
    assert np.abs(found - expected(value, drawn(6, 2, "channel", 11))).max() < 1e-4


def test_without_noise_it_is_score_cam() -> None:
    target = class_target(CLASS)
    found = explained(SCENE, target, samples=2, sigma=0).outcome.map
    run = score_cam(SCENE.base(target, "coarse"), ScoreCamOptions())
    np.testing.assert_allclose(found, hear(run, SCENE, target).outcome.map, rtol=1e-4)


def test_a_seed_repeats_its_map_and_another_gives_another() -> None:
    one, again, other = (
        explained(SCENE, class_target(CLASS), samples=3, seed=seed).outcome.map
        for seed in (2**32 - 1, 2**32 - 1, 0)
    )
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, rtol=1e-3)


@pytest.mark.parametrize("shared", [True, False])
def test_noise_is_normal_unclamped_and_new_for_each_sample(shared: bool) -> None:
    noises = [Noise(2.0, 5, i, shared).of(k, 200, 200) for i in (0, 1) for k in (0, 1)]
    for noise in noises:
        assert noise.dtype == np.float32
        assert abs(noise.mean()) < 0.05
        assert noise.std() == pytest.approx(2, rel=0.02)
        assert np.abs(noise).max() > 6
    assert np.array_equal(noises[0], noises[1]) == shared
    assert not np.array_equal(noises[0], noises[2])


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_masks_are_the_same_however_they_are_cut(size: int) -> None:
    features = SCENE.base(class_target(CLASS), "coarse").features["coarse"]
    masks = NoisyMasks(features, 54, 42, Noise(2, 3, 1, False))
    parts = [masks[start : min(start + size, 9)] for start in range(0, 9, size)]
    np.testing.assert_array_equal(np.concatenate(parts), masks[0:9])
    assert masks[0:9].shape == masks.shape
    assert masks[0:9].dtype == np.float32


def test_masks_equal_only_those_that_make_the_same() -> None:
    features = SCENE.base(class_target(CLASS), "coarse").features["coarse"]
    masks = NoisyMasks(features, 54, 42, Noise(2, 3, 1, False))
    assert masks == NoisyMasks(features, 54, 42, Noise(2, 3, 1, False))
    others = [Noise(1, 3, 1, False), Noise(2, 4, 1, False), Noise(2, 3, 0, False),
              Noise(2, 3, 1, True)]  # fmt: skip
    assert all(masks != NoisyMasks(features, 54, 42, other) for other in others)
    assert masks != NoisyMasks(features.copy(), 54, 42, masks.noise)
    assert masks != NoisyMasks(features, 42, 54, masks.noise)


def test_targets_share_the_rows_of_a_sample() -> None:
    features = SCENE.base(class_target(0), "coarse").features
    voices = []
    for index in range(3):
        base = replace(SCENE.base(class_target(index), "coarse"), features=features)
        run = ss_cam(base, SsCamOptions())
        voices.append(Voice(index, base.target, run, next(run)))
    assert isinstance(voices[0].probe, PixelRows)
    assert unison(voices) == voices


def test_the_map_is_shown_after_each_sample_and_while_the_first_one_runs() -> None:
    heard = explained(SCENE, class_target(CLASS), samples=4)
    assert [partial.fraction for partial in heard.partials] == [0.25, 0.5, 0.75, 1]
    assert np.array_equal(heard.partials[-1].map, heard.outcome.map)
    first, *others = heard.previews
    assert [round(36 * preview.fraction) for preview in first] == list(range(1, 10))
    assert others == [[], [], []]


def test_flat_features_give_zeros() -> None:
    base = SCENE.base(class_target(CLASS), "coarse")
    flat = replace(base, features={"coarse": np.full((9, 7, 5), 0.3, np.float32)})
    run = ss_cam(flat, SsCamOptions(samples=2))
    assert not unit_range(hear(run, SCENE, class_target(CLASS)).outcome.map).any()


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = ss_cam(SCENE.base(class_target(CLASS), "coarse"), SsCamOptions())
    next(run)
    with pytest.raises(NotPossible, match="9 of 9 masked images"):
        run.send(RowAnswers(np.full((9, 6), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"samples": 0}, "from 1 to 500"),
        ({"samples": 501}, "from 1 to 500"),
        ({"sigma": -0.1}, "from 0 to 100"),
        ({"sigma": 100.5}, "from 0 to 100"),
        ({"seed": -1}, "from 0 to"),
        ({"seed": 2**32}, "from 0 to"),
        ({"noise": "colour"}, "one of channel, shared"),
    ],
)
def test_options_out_of_their_limits_are_refused(given: dict, limits: str) -> None:
    with pytest.raises(InvalidRequest, match=limits):
        resolve(SsCamOptions, given)


def test_rows_are_one_a_channel_and_sample() -> None:
    assert ss_cam_rows(Extent((9,), 54, 42), SsCamOptions()) == 9 * 35
    assert ss_cam_rows(Extent((9,), 54, 42), SsCamOptions(samples=500)) == 4500
