"""LIME against its oracle; its samples, seeds, limits and maps in the making."""

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.methods.method import Extent, one_a_sample
from salience_service.methods.options import resolve
from salience_service.methods.probe import RowAnswers
from salience_service.methods.rows.lime import LimeOptions, coin_flips, lime
from salience_service.targets.target import Target, TargetKind
from tests.oracle.lime import lime as oracle
from tests.support.answering import Heard, Scene, class_target, hear, masks_of, pyramid
from tests.support.oracles import close, value_of

SCENE = Scene.of(pyramid())
CLASS = 2
OPTIONS = {"samples": 60, "superpixels": "slic", "segments": 12}


def explained(scene: Scene = SCENE, target: Target | None = None, **options: object) -> Heard:
    target = target or class_target(CLASS)
    run = lime(scene.base(target), resolve(LimeOptions, {**OPTIONS, **options}))
    return hear(run, scene, target)


def expected(heard: Heard, value, width: float = 0.25, samples: int = 60) -> np.ndarray:
    """The oracle on the masks that were asked for."""
    exact, masks = SCENE.double(), torch.from_numpy(masks_of(heard)[0:samples]).double()
    labels = masks_of(heard).superpixels.labels
    corners = [np.argwhere(labels == label)[0] for label in range(labels.max() + 1)]
    shown = torch.stack([masks[:, row, column] for row, column in corners], dim=1)
    with torch.no_grad():
        rows = exact.fill + masks[:, None] * (exact.image - exact.fill)
        scores = torch.stack([value(logits) for logits in exact.network(rows)])
    return oracle(shown, scores, width).numpy()[labels]


@pytest.mark.parametrize("width", [0.25, 1.0])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_lime_equals_its_oracle(score: str, width: float) -> None:
    heard = explained(score=score, kernel_width=width)
    assert heard.outcome.signed
    assert heard.outcome.map.min() < 0 < heard.outcome.map.max()
    close(heard.outcome.map, expected(heard, value_of(CLASS, score), width))


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (Target("not", TargetKind.ABSENT, 1, OutputKind.SOFTMAX), lambda y: 1 - y.softmax(0)[1]),
        (
            Target("-", TargetKind.DIFFERENCE, 1, OutputKind.SOFTMAX, 4),
            lambda y: torch.sigmoid(y[1] - y[4]),
        ),
        (class_target(3, OutputKind.REGRESSION), lambda y: y[3]),
    ],
    ids=["absent", "difference", "regression"],
)
def test_every_kind_of_target_equals_its_oracle(target: Target, value) -> None:
    heard = explained(target=target)
    close(heard.outcome.map, expected(heard, value))


def test_the_first_sample_is_the_whole_image_and_the_rest_are_fair_coins() -> None:
    shown = coin_flips(np.random.default_rng(0), 4000, 50)
    assert shown[0].all()
    deviation = 0.5 / np.sqrt(shown[1:].size)
    assert abs(shown[1:].mean() - 0.5) < 5 * deviation
    assert len(np.unique(shown, axis=0)) == 4000


def test_masks_show_whole_superpixels_and_do_not_depend_on_where_they_are_cut() -> None:
    masks = masks_of(explained())
    whole = masks[0:60]
    assert masks.shape == whole.shape == (60, 54, 42)
    assert whole.dtype == np.float32
    assert set(np.unique(whole)) == {0, 1}
    np.testing.assert_array_equal(masks[7:31], whole[7:31])
    np.testing.assert_array_equal(whole[5], masks.shown[5][masks.superpixels.labels])


def test_maps_in_the_making_are_lime_with_the_samples_so_far() -> None:
    heard = explained()
    (previews,) = heard.previews
    assert [round(60 * preview.fraction) for preview in previews] == list(range(1, 61))
    assert {preview.tap for preview in previews} == {""}
    close(previews[29].map, expected(heard, lambda y: y.softmax(0)[CLASS], samples=30))
    np.testing.assert_array_equal(previews[-1].map, heard.outcome.map)


def test_a_constant_network_gets_zeros() -> None:
    scene = Scene.of(pyramid())
    with torch.no_grad():
        scene.network.head.weight.zero_()
    np.testing.assert_allclose(explained(scene).outcome.map, 0, atol=1e-6)


def test_an_image_of_one_superpixel_answers() -> None:
    """Quickshift finds no border in so small and smooth an image."""
    heard = explained(superpixels="quickshift")
    assert masks_of(heard).superpixels.count >= 1
    assert np.isfinite(heard.outcome.map).all()


def test_targets_share_their_rows_unless_their_seeds_differ() -> None:
    image = SCENE.base(class_target(0)).image

    def voice(number: int, seed: int = 0) -> Voice:
        target = class_target(number)
        base = SCENE.base(target)
        shared = type(base)(base.features, base.logits, target, image, base.fill)
        run = lime(shared, resolve(LimeOptions, {**OPTIONS, "seed": seed}))
        return Voice(number, target, run, next(run))

    one, other, odd = voice(0), voice(1), voice(2, seed=1)
    assert unison([one, other, odd]) == [one, other]


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = lime(SCENE.base(class_target(CLASS)), resolve(LimeOptions, {**OPTIONS, "samples": 4}))
    rows = next(run)
    logits = np.zeros((4, 6), np.float32)
    logits[2, CLASS] = np.nan
    assert np.isfinite(rows.preview(logits[:2]).map).all()
    for told in (lambda: rows.preview(logits), lambda: run.send(RowAnswers(logits))):
        with pytest.raises(NotPossible, match="1 of 4 masked images"):
            told()


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("samples", 1, "from 2 to 10000"),
        ("samples", 10001, "from 2 to 10000"),
        ("segments", 1, "from 2 to 300"),
        ("segments", 301, "from 2 to 300"),
        ("kernel_width", 0.0, "from 0.01 to 10"),
        ("kernel_width", 10.1, "from 0.01 to 10"),
        ("seed", -1, "from 0 to"),
        ("seed", 2**32, "from 0 to"),
        ("superpixels", "felzenszwalb", "one of quickshift, slic"),
        ("score", "odds", "one of logit, probability"),
    ],
)
def test_options_outside_their_limits_are_refused(option: str, value: object, limits: str) -> None:
    with pytest.raises(InvalidRequest, match=f"option {option} is .*{limits}"):
        resolve(LimeOptions, {option: value})


@pytest.mark.parametrize(
    "options",
    [{"samples": 2}, {"segments": 2}, {"segments": 300}, {"kernel_width": 0.01},
     {"seed": 2**32 - 1}],
)  # fmt: skip
def test_the_options_at_their_limits_answer(options: dict[str, float]) -> None:
    assert np.isfinite(explained(**options).outcome.map).all()


def test_the_defaults_are_the_lime_packages() -> None:
    options = LimeOptions()
    assert (options.samples, options.superpixels) == (1000, "quickshift")
    assert (options.kernel_width, options.score) == (0.25, "probability")
    assert one_a_sample(Extent((), 54, 42), options) == 1000
