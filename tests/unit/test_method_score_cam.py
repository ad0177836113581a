"""Score-CAM against its oracle, and what must hold of any class activation map."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import ComputeFailed
from salience_service.interpolation import unit_range
from salience_service.methods.method import Extent
from salience_service.methods.probe import RowAnswers
from salience_service.methods.rows.score_cam import ScoreCamOptions, score_cam, score_cam_rows
from salience_service.target import Target, TargetKind
from tests.oracle.poly_cam import poly_cam as poly_cam_oracle
from tests.oracle.score_cam import score_cam as oracle
from tests.support.answering import Scene, class_target, hear, pyramid, with_another_head


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
        assert np.array_equal(cic, raw)


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
    assert np.allclose(previews[0].map, SCENE.features("coarse")[0], atol=1e-6)
    assert np.array_equal(previews[-1].map, heard.outcome.map)


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = score_cam(SCENE.base(class_target(CLASS), "coarse"), ScoreCamOptions())
    rows = next(run)
    logits = np.zeros((len(rows.maps), 6), np.float32)
    logits[3, CLASS] = np.nan
    assert np.isfinite(rows.preview(logits[:3]).map).all()
    with pytest.raises(ComputeFailed, match="1 of 4 masked images"):
        rows.preview(logits[:4])
    with pytest.raises(ComputeFailed, match="1 of 9 masked images"):
        run.send(RowAnswers(logits))
