"""RISE against its oracle, its maps in the making, its seeds, limits and shared rows."""

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.methods.method import Extent
from salience_service.methods.options import resolve
from salience_service.methods.probe import PixelRows, RowAnswers
from salience_service.methods.rows.random_grids import RandomGrids
from salience_service.methods.rows.rise import RiseOptions, rise, rise_rows
from salience_service.targets.target import Target, TargetKind
from tests.oracle.rise import rise as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid
from tests.support.oracles import close, value_of

SCENE = Scene.of(pyramid())
CLASS = 2
COUNT = 100


def explained(scene: Scene = SCENE, target: Target | None = None, **options: object) -> Heard:
    target = target or class_target(CLASS)
    options = {"masks": COUNT, "probability": 0.3, **options}
    return hear(rise(scene.base(target), resolve(RiseOptions, options)), scene, target)


def expected(value, count: int = COUNT, seed: int = 0) -> np.ndarray:
    masks = RandomGrids(COUNT, 8, 0.3, seed, 54, 42)[0:count]
    exact = SCENE.double()
    with torch.no_grad():
        shown = torch.from_numpy(masks).double()
        return oracle(exact.network, exact.image, shown, value, exact.fill, 0.3).numpy()


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_rise_equals_its_oracle(score: str, seed: int) -> None:
    heard = explained(score=score, seed=seed)
    assert not heard.outcome.signed
    assert heard.outcome.map.dtype == np.float32
    close(heard.outcome.map, expected(value_of(CLASS, score), seed=seed))


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
    close(explained(target=target).outcome.map, expected(value))


def test_maps_in_the_making_are_rise_with_the_masks_so_far() -> None:
    heard = explained()
    (previews,) = heard.previews
    assert [round(COUNT * preview.fraction) for preview in previews] == list(range(1, COUNT + 1))
    assert {preview.tap for preview in previews} == {""}
    close(previews[6].map, expected(lambda y: y.softmax(0)[CLASS], count=7))
    np.testing.assert_array_equal(previews[-1].map, heard.outcome.map)


def test_masks_that_were_summed_cannot_be_taken_out_again() -> None:
    probe = next(rise(SCENE.base(class_target(CLASS)), RiseOptions(masks=COUNT)))
    assert isinstance(probe, PixelRows)
    assert probe.preview is not None
    logits = np.eye(8, 6, dtype=np.float32)
    probe.preview(logits)
    with pytest.raises(AssertionError):
        probe.preview(logits[:7])


def test_a_constant_network_gets_the_mean_mask() -> None:
    scene = Scene.of(pyramid())
    with torch.no_grad():
        scene.network.head.weight.zero_()
        scene.network.head.bias.copy_(torch.arange(6.0))
    masks = RandomGrids(COUNT, 8, 0.3, 0, 54, 42)[0:COUNT]
    found = explained(scene, score="logit").outcome.map
    np.testing.assert_allclose(found, CLASS * masks.mean(axis=0) / 0.3, atol=1e-5)


def voice(number: int, seed: int = 0) -> Voice:
    target = class_target(number)
    run = rise(SCENE.base(target), RiseOptions(seed=seed))
    return Voice(number, target, run, next(run))


def test_targets_share_their_rows_unless_their_seeds_differ() -> None:
    one, other, odd = voice(0), voice(1), voice(2, seed=1)
    assert unison([one, other, odd]) == [one, other]


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    run = rise(SCENE.base(class_target(CLASS)), RiseOptions(masks=4))
    rows = next(run)
    logits = np.zeros((4, 6), np.float32)
    logits[2, CLASS] = np.nan
    assert np.isfinite(rows.preview(logits[:2]).map).all()
    with pytest.raises(NotPossible, match="1 of 2 masked images"):
        rows.preview(logits)
    with pytest.raises(NotPossible, match="1 of 2 masked images"):
        run.send(RowAnswers(logits))


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("masks", 0, "from 1 to 20000"),
        ("masks", 20001, "from 1 to 20000"),
        ("cells", 1, "from 2 to 64"),
        ("cells", 65, "from 2 to 64"),
        ("probability", 0.009, "from 0.01 to 0.99"),
        ("probability", 1.0, "from 0.01 to 0.99"),
        ("seed", -1, "from 0 to"),
        ("seed", 2**32, "from 0 to"),
        ("score", "odds", "one of logit, probability"),
    ],
)
def test_options_outside_their_limits_are_refused(option: str, value: object, limits: str) -> None:
    with pytest.raises(InvalidRequest, match=f"option {option} is .*{limits}"):
        resolve(RiseOptions, {option: value})


def test_the_options_at_their_limits_answer() -> None:
    for options in ({"masks": 1}, {"cells": 2}, {"cells": 42}, {"probability": 0.01}):
        assert np.isfinite(explained(**options).outcome.map).all()


def test_more_cells_than_pixels_are_refused_before_anything_runs() -> None:
    assert rise_rows(Extent((), 54, 42), RiseOptions(cells=42, masks=17)) == 17
    with pytest.raises(InvalidRequest, match=r"cells is 43.*42 pixels.*at most 42"):
        rise_rows(Extent((), 54, 42), RiseOptions(cells=43))


def test_the_defaults_are_those_of_the_authors_code() -> None:
    options = RiseOptions()
    assert (options.masks, options.cells, options.probability) == (6000, 8, 0.1)
