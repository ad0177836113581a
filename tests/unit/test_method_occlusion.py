"""Occlusion against its oracle; its windows, limits, and maps in the making."""

import numpy as np
import pytest
import torch

from salience_service.bundle.manifest import OutputKind
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.explanation.voices import Voice, unison
from salience_service.methods.method import Extent
from salience_service.methods.options import resolve
from salience_service.methods.probe import RowAnswers
from salience_service.methods.rows.occlusion import OcclusionOptions, occlusion, occlusion_rows
from salience_service.methods.rows.windows import Windows
from salience_service.targets.target import Target, TargetKind
from tests.oracle.occlusion import occlusion as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid
from tests.support.oracles import close

SCENE = Scene.of(pyramid())
CLASS = 2


def explained(scene: Scene = SCENE, target: Target | None = None, **options: object) -> Heard:
    target = target or class_target(CLASS)
    run = occlusion(scene.base(target), resolve(OcclusionOptions, options))
    return hear(run, scene, target)


def expected(value, window: int = 12, stride: int = 1) -> np.ndarray:
    exact = SCENE.double()
    with torch.no_grad():
        return oracle(exact.network, exact.image, value, exact.fill, window, stride).numpy()


@pytest.mark.parametrize(
    ("window", "stride"),
    [(12, 5), (7, 7), (42, 3), (42, 42), (10, 9)],
    ids=["overlapping", "side by side", "as wide as the input", "one across", "cut at the edge"],
)
def test_occlusion_equals_its_oracle(window: int, stride: int) -> None:
    heard = explained(window=window, stride=stride)
    assert heard.outcome.signed
    assert heard.outcome.map.dtype == np.float32
    close(heard.outcome.map, expected(lambda y: y[CLASS], window, stride))


@pytest.mark.parametrize(
    ("target", "score", "value"),
    [
        (class_target(CLASS), "probability", lambda y: y.softmax(0)[CLASS]),
        (Target("not", TargetKind.ABSENT, 1, OutputKind.SOFTMAX), "logit", lambda y: -y[1]),
        (
            Target("-", TargetKind.DIFFERENCE, 1, OutputKind.SOFTMAX, 4),
            "logit",
            lambda y: y[1] - y[4],
        ),
        (class_target(3, OutputKind.REGRESSION), "probability", lambda y: y[3]),
    ],
    ids=["probability", "absent", "difference", "regression"],
)
def test_every_kind_of_target_and_score_equals_its_oracle(
    target: Target, score: str, value
) -> None:
    found = explained(target=target, score=score, window=12, stride=6).outcome.map
    close(found, expected(value, 12, 6))


def test_by_default_the_window_is_two_sevenths_of_the_shorter_side() -> None:
    assert occlusion_rows(Extent((), 224, 224), OcclusionOptions()) == 441
    given = OcclusionOptions(window=64, stride=8)
    assert occlusion_rows(Extent((), 224, 224), given) == 441
    close(explained().outcome.map, expected(lambda y: y[CLASS], 12, 1))


def test_an_input_of_one_pixel_has_one_window() -> None:
    assert occlusion_rows(Extent((), 1, 1), OcclusionOptions()) == 1


def test_windows_are_made_as_they_are_cut() -> None:
    windows = Windows(9, 7, 4, 3)
    assert windows.shape == (6, 9, 7)
    whole = windows[0:6]
    np.testing.assert_array_equal(windows[2:5], whole[2:5])
    assert whole.dtype == np.float32
    # Rows 0, 3, 6 (cut off at 9), columns 0, 3: row by row.
    assert [int((mask == 0).sum()) for mask in whole] == [16, 16, 16, 16, 12, 12]
    assert not whole[3, 3:7, 3:7].any()


def test_maps_in_the_making_know_the_first_windows_and_leave_the_rest_zero() -> None:
    heard = explained(window=12, stride=12)
    (previews,) = heard.previews
    first = previews[0].map
    assert first[:12, :12].any()
    assert not first[12:].any()
    assert not first[:, 12:].any()
    np.testing.assert_allclose(first[:12, :12], heard.outcome.map[:12, :12], rtol=1e-6)
    np.testing.assert_array_equal(previews[-1].map, heard.outcome.map)
    assert [round(20 * preview.fraction) for preview in previews] == list(range(1, 21))
    assert {preview.tap for preview in previews} == {""}


def test_an_image_that_is_its_own_fill_gets_zeros() -> None:
    scene = Scene(SCENE.network, SCENE.fill, SCENE.fill)
    np.testing.assert_allclose(explained(scene, window=20, stride=20).outcome.map, 0, atol=1e-5)


def voice(number: int, **options: object) -> Voice:
    target = class_target(number)
    run = occlusion(SCENE.base(target), resolve(OcclusionOptions, options))
    return Voice(number, target, run, next(run))


def test_targets_share_their_rows_unless_their_windows_differ() -> None:
    one, other, odd = voice(0), voice(1), voice(2, stride=2)
    assert unison([one, other, odd]) == [one, other]


def test_a_score_that_is_not_a_number_is_an_error_and_no_map() -> None:
    options = OcclusionOptions(window=42, stride=42)
    run = occlusion(SCENE.base(class_target(CLASS)), options)
    rows = next(run)
    logits = np.zeros((2, 6), np.float32)
    logits[1, CLASS] = np.inf
    with pytest.raises(NotPossible, match="1 of 2 masked images"):
        rows.preview(logits)
    with pytest.raises(NotPossible, match="1 of 2 masked images"):
        run.send(RowAnswers(logits))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 43}, "window is 43.*54×42 pixels.*at most 42"),
        ({"window": 10, "stride": 11}, "stride is 11.*windows of 10.*gaps.*at most 10"),
        ({"stride": 13}, "stride is 13.*windows of 12.*at most 12"),
    ],
)
def test_windows_that_do_not_fit_are_refused_before_anything_runs(
    options: dict[str, int], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        occlusion_rows(Extent((), 54, 42), OcclusionOptions(**options))


def test_too_many_windows_are_refused() -> None:
    options = OcclusionOptions(window=8, stride=1)
    assert occlusion_rows(Extent((), 148, 148), options) == 19881
    with pytest.raises(InvalidRequest, match=r"are 20164: at most 20000.*larger stride"):
        occlusion_rows(Extent((), 149, 149), options)


@pytest.mark.parametrize("option", ["window", "stride"])
@pytest.mark.parametrize("value", [-1, 8193, 2.5])
def test_options_outside_their_limits_are_refused(option: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=f"option {option} is .*from 0 to 8192"):
        resolve(OcclusionOptions, {option: value})
