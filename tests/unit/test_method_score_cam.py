"""Score-CAM against its oracle, and what must hold of any class activation map."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.interpolation import unit_range
from salience_service.methods import METHODS
from salience_service.methods.method import Extent
from salience_service.methods.probe import RowAnswers, Rows
from salience_service.methods.rows.promise import Promising
from salience_service.methods.rows.score_cam import ScoreCamOptions, score_cam, score_cam_rows
from salience_service.targets.target import Target, TargetKind
from tests.oracle.poly_cam import poly_cam as poly_cam_oracle
from tests.oracle.score_cam import score_cam as oracle
from tests.support.answering import (
    Scene,
    class_target,
    hear,
    pyramid,
    row_answers,
    with_another_head,
)


def explained(scene: Scene, target: Target, **options: str) -> np.ndarray:
    run = score_cam(scene.base(target, "coarse"), ScoreCamOptions(**options))
    return unit_range(hear(run, scene, target).outcome.map)


def expected(scene: Scene, value, weights: str = "softmax") -> np.ndarray:
    exact = scene.double()
    with torch.no_grad():
        image_map = oracle(
            exact.network, exact.image, exact.features("coarse"), value, exact.fill, weights
        )
    return unit_range(image_map.numpy())


SCENE = Scene.of(pyramid())
CLASS = 2


@pytest.mark.parametrize("weights", ["softmax", "raw"])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_score_cam_equals_its_oracle(score: str, weights: str) -> None:
    def value(logits):
        return logits[3] if score == "logit" else torch.softmax(logits, 0)[3]

    found = explained(SCENE, class_target(3), score=score, weights=weights)
    exact = expected(SCENE, value, weights)
    assert exact.max() == 1  # Raw logits below zero would leave nothing to compare.
    assert np.abs(found - exact).max() < 1e-4


CHANGES = {"cic": "plus", "cdc": "minus", "cvc": "plus-minus"}


@pytest.mark.parametrize("tap", ["coarse", "middle", "fine"])
@pytest.mark.parametrize("weights", list(CHANGES))
def test_weights_by_confidence_equal_the_oracle_of_one_layer_of_poly_cam(
    weights: str, tap: str
) -> None:
    target = class_target(3)
    run = score_cam(SCENE.base(target, tap), ScoreCamOptions(weights=weights))
    heard, exact = hear(run, SCENE, target), SCENE.double()
    with torch.no_grad():
        (image_map,) = poly_cam_oracle(
            exact.network, exact.image, [exact.features(tap)],
            lambda logits: torch.softmax(logits, 0)[3], exact.fill, CHANGES[weights],
        )  # fmt: skip
    assert image_map.max() > 0
    difference = unit_range(heard.outcome.map) - unit_range(image_map.numpy())
    assert np.abs(difference).max() < 1e-4
    rows = score_cam_rows(
        Extent((len(exact.features(tap)),), 54, 42), ScoreCamOptions(weights=weights)
    )
    assert heard.rows == rows == len(exact.features(tap)) * (2 if weights == "cvc" else 1)


def test_the_increase_of_confidence_is_the_raw_probability_whatever_score_says() -> None:
    raw = explained(SCENE, class_target(3), score="probability", weights="raw")
    for score in ("logit", "probability"):
        cic = explained(SCENE, class_target(3), score=score, weights="cic")
        # Rows come in another order, and torch's bits depend on their neighbours.
        np.testing.assert_allclose(cic, raw, atol=1e-6)


@pytest.mark.parametrize("weights", list(CHANGES))
def test_previews_by_confidence_end_in_the_map(weights: str) -> None:
    target = class_target(3)
    run = score_cam(SCENE.base(target, "coarse"), ScoreCamOptions(weights=weights))
    heard = hear(run, SCENE, target)
    fractions = [preview.fraction for previews in heard.previews for preview in previews]
    rows = 18 if weights == "cvc" else 9
    assert fractions == pytest.approx([done / rows for done in range(1, rows + 1)])
    assert np.array_equal(heard.previews[-1][-1].map, heard.outcome.map)


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (Target("not", TargetKind.ABSENT, 1, OutputKind.SOFTMAX), lambda y: -y[1]),
        (Target("-", TargetKind.DIFFERENCE, 1, OutputKind.SOFTMAX, 4), lambda y: y[1] - y[4]),
        (class_target(3, OutputKind.REGRESSION), lambda y: y[3]),
    ],
)
def test_every_kind_of_target_equals_its_oracle(target: Target, value) -> None:
    assert np.abs(explained(SCENE, target) - expected(SCENE, value)).max() < 1e-4


def test_a_dead_channel_masks_everything_and_changes_no_other() -> None:
    network = pyramid()
    with torch.no_grad():
        network.coarse.weight[4] = 0
        network.coarse.bias[4] = -1
    scene = Scene.of(network)
    assert not scene.features("coarse")[4].any()
    found = explained(scene, class_target(CLASS))
    assert np.abs(found - expected(scene, lambda y: y[CLASS])).max() < 1e-4


def test_flat_features_give_zeros() -> None:
    base = SCENE.base(class_target(CLASS), "coarse")
    flat = replace(base, features={"coarse": np.full((9, 7, 5), 0.3, np.float32)})
    heard = hear(score_cam(flat, ScoreCamOptions()), SCENE, class_target(CLASS))
    assert np.array_equal(unit_range(heard.outcome.map), np.zeros((7, 5)))


def test_two_classes_differ() -> None:
    maps = [explained(SCENE, class_target(index)) for index in (0, CLASS)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_another_last_layer_changes_the_map() -> None:
    other = Scene.of(with_another_head(SCENE.network))
    assert np.array_equal(SCENE.features("coarse"), other.features("coarse"))
    maps = [explained(scene, class_target(CLASS)) for scene in (SCENE, other)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_previews_sharpen_into_the_map() -> None:
    target = class_target(CLASS)
    heard = hear(score_cam(SCENE.base(target, "coarse"), ScoreCamOptions()), SCENE, target)
    (previews,) = heard.previews
    assert [round(9 * preview.fraction) for preview in previews] == list(range(1, 10))
    # Of one score nothing can be said of the others but that it is theirs too.
    mean = SCENE.features("coarse").mean(dim=0).numpy()
    assert np.allclose(previews[0].map, mean, atol=1e-6)
    assert np.array_equal(previews[-1].map, heard.outcome.map)
    correlations = [preview.correlation for preview in previews]
    assert (correlations[0], correlations[-1]) == (0.0, 1.0)
    assert all(0 <= each <= 1 for each in correlations)


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = score_cam(SCENE.base(class_target(CLASS), "coarse"), ScoreCamOptions())
    rows = next(run)
    logits = np.zeros((rows.maps.shape[0], 6), np.float32)
    logits[3, CLASS] = np.nan
    assert np.isfinite(rows.preview(logits[:3]).map).all()
    with pytest.raises(NotPossible, match="1 of 4 masked images"):
        rows.preview(logits[:4])
    with pytest.raises(NotPossible, match="1 of 9 masked images"):
        run.send(RowAnswers(logits))


def ended(rows: int, **options: str) -> np.ndarray:
    """The raw map of a run that is answered with that many rows."""
    run = score_cam(SCENE.base(class_target(CLASS), "coarse"), ScoreCamOptions(**options))
    with pytest.raises(StopIteration) as end:
        run.send(RowAnswers(logits_of(next(run))[:rows]))
    return end.value.value.map


def logits_of(probe: Rows) -> np.ndarray:
    """Logits [K, 6] of the rows of a probe."""
    (answer, _) = row_answers(probe, SCENE)
    return answer.logits


@pytest.mark.parametrize("weights", ["softmax", "raw"])
def test_order_leaves_no_trace_in_a_map_of_all_channels(weights: str) -> None:
    features = SCENE.base(class_target(CLASS), "coarse").features["coarse"]
    order = Promising(features).order
    scores = np.empty(9)
    scores[order] = logits_of(Rows(Promising(features)))[:, CLASS]
    raised = np.exp(scores - scores.max())
    weighed = raised / raised.sum() if weights == "softmax" else scores
    plain = np.maximum(np.tensordot(weighed, features, axes=1), 0).astype(np.float32)
    assert not np.array_equal(order, np.arange(9))
    assert np.array_equal(ended(9, weights=weights), plain)


@pytest.mark.parametrize("weights", ["softmax", "raw"])
@pytest.mark.parametrize("rows", [1, 4, 8])
def test_a_map_that_ends_early_gives_the_channels_left_the_mean_score(
    rows: int, weights: str
) -> None:
    features = SCENE.base(class_target(CLASS), "coarse").features["coarse"]
    scores = logits_of(Rows(features))[:, CLASS].astype(np.float64)
    first = np.argsort(-features.std(axis=(1, 2)))[:rows]
    known = np.where(np.isin(np.arange(9), first), scores, scores[first].mean())
    weighed = np.exp(known) / np.exp(known).sum() if weights == "softmax" else known
    expected = np.maximum(np.tensordot(weighed, features, axes=1), 0)
    np.testing.assert_allclose(ended(rows, weights=weights), expected, rtol=1e-5)


def test_targets_share_rows_in_the_order_of_promise() -> None:
    features = SCENE.base(class_target(0), "coarse").features
    asking = [
        Voice(number, class_target(number), run, next(run))
        for number in range(2)
        for run in [
            score_cam(
                replace(SCENE.base(class_target(number), "coarse"), features=features),
                ScoreCamOptions(),
            )
        ]
    ]
    assert unison(asking) == asking


def test_maps_by_confidence_are_not_anytime_and_the_others_are() -> None:
    anytime = METHODS["score-cam"].anytime
    assert anytime is not None
    assert {name: anytime(ScoreCamOptions(weights=name)) for name in ("softmax", "raw")} == {
        "softmax": True,
        "raw": True,
    }
    assert not any(anytime(ScoreCamOptions(weights=name)) for name in CHANGES)
    for name in ("softmax", *CHANGES):
        run = score_cam(SCENE.base(class_target(CLASS), "coarse"), ScoreCamOptions(weights=name))
        assert next(run).anytime == anytime(ScoreCamOptions(weights=name))
