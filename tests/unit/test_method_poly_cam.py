"""Poly-CAM against its oracle, LNorm at any ratio, and what must hold of its maps."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from salience_service.bundle.manifest import OutputKind, Tap
from salience_service.errors import InvalidRequest
from salience_service.interpolation import interpolation_matrix, unit_range
from salience_service.methods.method import extent
from salience_service.methods.rows.local_norm import local_norm, pooling_matrix
from salience_service.methods.rows.poly_cam import PolyCamOptions, clipped, poly_cam, poly_cam_rows
from tests.oracle.poly_cam import poly_cam as oracle
from tests.support.answering import Heard, Scene, class_target, hear, pyramid, with_another_head
from tests.support.contracts import image_contract

TAPS = ("coarse", "middle", "fine")
CLASS = 2
SCENE = Scene.of(pyramid())


def explained(scene: Scene, index: int = CLASS, **options: str | bool) -> Heard:
    target = class_target(index)
    return hear(poly_cam(scene.base(target, *TAPS), PolyCamOptions(**options)), scene, target)


@pytest.mark.parametrize(
    ("weights", "variant", "with_norm"),
    list(product(["plus", "minus", "plus-minus"], ["paper", "code"], [True, False])),
)
def test_every_layer_equals_its_oracle(weights: str, variant: str, with_norm: bool) -> None:
    heard = explained(SCENE, weights=weights, variant=variant, local_norm=with_norm)
    exact = SCENE.double()
    layers = [exact.features(tap) for tap in TAPS]
    with torch.no_grad():
        maps = oracle(
            exact.network,
            exact.image,
            layers,
            lambda logits: torch.softmax(logits, 0)[CLASS],
            exact.fill,
            weights,
            variant,
            with_norm,
        )
    assert [partial.tap for partial in heard.partials] == list(TAPS)
    assert np.array_equal(heard.partials[-1].map, heard.outcome.map)
    for partial, expected in zip(heard.partials, maps, strict=True):
        difference = unit_range(partial.map) - unit_range(expected.numpy())
        assert np.abs(difference).max() < 1e-4


def test_a_regression_is_weighed_by_its_value() -> None:
    target = class_target(CLASS, OutputKind.REGRESSION)
    heard = hear(poly_cam(SCENE.base(target, "coarse"), PolyCamOptions()), SCENE, target)
    exact = SCENE.double()
    with torch.no_grad():
        (expected,) = oracle(
            exact.network,
            exact.image,
            [exact.features("coarse")],
            lambda logits: logits[CLASS],
            exact.fill,
            "plus-minus",
        )
    assert np.abs(unit_range(heard.outcome.map) - unit_range(expected.numpy())).max() < 1e-4


def test_hiding_turns_the_mask_round() -> None:
    probes = explained(SCENE, weights="minus").probes
    assert [(probe.scale, probe.shift) for probe in probes] == [(-1, 1)] * 3
    probes = explained(SCENE, weights="plus").probes
    assert [(probe.scale, probe.shift) for probe in probes] == [(1, 0)] * 3


@pytest.mark.parametrize("weights", ["plus", "minus", "plus-minus"])
def test_only_the_coarsest_layer_is_drawn_while_it_grows(weights: str) -> None:
    heard = explained(SCENE, weights=weights)
    passes = 2 if weights == "plus-minus" else 1
    drawn, rest = heard.previews[:passes], heard.previews[passes:]
    assert [len(previews) for previews in drawn] == [9] * passes
    assert [len(previews) for previews in rest] == [0] * 2 * passes
    fractions = [preview.fraction for previews in drawn for preview in previews]
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == pytest.approx(9 / 21)
    assert np.array_equal(drawn[-1][-1].map, heard.partials[0].map)


def test_a_preview_takes_untried_channels_as_neither_gaining_nor_losing() -> None:
    heard = explained(SCENE, weights="plus-minus")
    shown_only = explained(SCENE, weights="plus").partials[0].map
    halfway = heard.previews[0][-1].map
    assert np.allclose(halfway, shown_only, rtol=1e-5)


@pytest.mark.parametrize(("fine", "coarse"), [((28, 28), (14, 14)), ((16, 10), (8, 5))])
def test_at_a_ratio_of_two_paper_and_code_normalise_alike(
    fine: tuple[int, int], coarse: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).random(fine)
    paper = local_norm(values, coarse, pooling_matrix)
    code = local_norm(values, coarse, interpolation_matrix)
    assert np.allclose(paper, code, rtol=1e-6)


def test_at_a_ratio_of_four_paper_and_code_normalise_differently() -> None:
    values = np.random.default_rng(0).random((28, 28))
    paper = local_norm(values, (7, 7), pooling_matrix)
    assert np.abs(paper - local_norm(values, (7, 7), interpolation_matrix)).max() > 0.1


@pytest.mark.parametrize(("fine", "coarse"), [(27, 13), (14, 7), (10, 7), (7, 7), (5, 8), (6, 1)])
def test_the_pooling_matrix_equals_adaptive_average_pooling(fine: int, coarse: int) -> None:
    values = np.random.default_rng(1).random((fine, fine))
    found = pooling_matrix(coarse, fine) @ values @ pooling_matrix(coarse, fine).T
    expected = F.adaptive_avg_pool2d(torch.from_numpy(values)[None], (coarse, coarse))[0]
    assert np.allclose(found, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("fine", "coarse"), [(27, 13), (28, 14), (56, 7)])
def test_local_norm_of_a_constant_is_one(fine: int, coarse: int) -> None:
    normed = local_norm(np.full((fine, fine), 3.7), (coarse, coarse), pooling_matrix)
    assert np.allclose(normed, 1, rtol=1e-6)


@pytest.mark.parametrize("coarsen", [pooling_matrix, interpolation_matrix])
def test_local_norm_of_a_multiple_is_the_same(coarsen) -> None:
    values = np.random.default_rng(2).random((27, 27))
    normed = local_norm(values, (13, 13), coarsen)
    for scale in (1e12, 1e-11, 1e-13, 1e-20, 1e-30, 1e-300):
        assert np.allclose(local_norm(scale * values, (13, 13), coarsen), normed, rtol=1e-12)


def test_local_norm_of_zeros_is_zeros() -> None:
    assert not local_norm(np.zeros((27, 27)), (13, 13), pooling_matrix).any()


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("value", [0.0, 0.3, -0.3])
def test_flat_features_give_zeros(variant: str, value: float) -> None:
    base = SCENE.base(class_target(CLASS), *TAPS)
    features = {tap: np.full_like(A, value) for tap, A in base.features.items()}
    run = poly_cam(replace(base, features=features), PolyCamOptions(variant=variant))
    outcome = hear(run, SCENE, class_target(CLASS)).outcome
    assert not unit_range(outcome.map).any()


def test_spikes_that_the_published_local_norm_blows_up_stay_numbers() -> None:
    target = class_target(CLASS)
    coarse = SCENE.base(target, "coarse").features["coarse"]
    spikes = np.zeros((3, 56, 56), np.float32)
    spikes[:, ::8, ::8] = 1
    far = np.zeros((3, 224, 224), np.float32)
    far[:, ::8, ::8] = 1
    base = replace(
        SCENE.base(target), features={"coarse": coarse, "spikes": spikes, "far": np.float32(far)}
    )
    outcome = hear(poly_cam(base, PolyCamOptions(variant="code")), SCENE, target).outcome
    assert np.isfinite(outcome.map).all()


class Fewer:
    """A target of which the probability is a share of another's."""

    def __init__(self, share: float) -> None:
        self.share, self.target = share, class_target(CLASS)

    def confidence(self, logits: np.ndarray) -> np.ndarray:
        return self.share * self.target.confidence(logits)


@pytest.mark.parametrize("with_norm", [True, False])
@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("share", [1e-14, 1e-45, 1e-200])
def test_a_target_of_tiny_probability_has_the_map_of_any_other(
    variant: str, with_norm: bool, share: float
) -> None:
    """Three layers: without LNorm the product of 1e-200 leaves float64 too."""
    options = PolyCamOptions(variant=variant, local_norm=with_norm)
    base = SCENE.base(class_target(CLASS), *TAPS)
    usual, tiny = (
        hear(poly_cam(replace(base, target=target), options), SCENE, target).outcome.map
        for target in (Fewer(1), Fewer(share))
    )
    assert np.abs(unit_range(tiny) - unit_range(usual)).max() < 1e-6  # A few steps of float32.


def test_a_raw_map_has_the_scale_of_its_target_as_far_as_float32_reaches() -> None:
    def greatest(share: float) -> float:
        base, options = SCENE.base(class_target(CLASS), *TAPS), PolyCamOptions(local_norm=False)
        run = poly_cam(replace(base, target=Fewer(share)), options)
        return float(hear(run, SCENE, Fewer(share)).outcome.map.max())

    assert greatest(1e-3) == pytest.approx(1e-9 * greatest(1), rel=1e-6)
    assert greatest(1e-20) == pytest.approx(greatest(1e-40), rel=1e-6)
    assert greatest(1e-40) > 0


def test_two_taps_of_one_size_have_no_local_mean_between_them() -> None:
    taps = [Tap("a", 3, 7, 6, "a"), Tap("b", 4, 14, 12, "b"), Tap("c", 5, 14, 12, "c")]
    size = extent(taps, image_contract())
    with pytest.raises(InvalidRequest, match=r"name one of them, or local_norm=false"):
        poly_cam_rows(size, PolyCamOptions())
    assert poly_cam_rows(size, PolyCamOptions(local_norm=False)) == 24


def test_the_published_clip_saturates_half_of_a_symmetric_map() -> None:
    values = np.linspace(-1, 1, 2001).reshape(1, 3, 667)
    saturated = np.mean(clipped(values) == 1)
    assert saturated == pytest.approx(0.5, abs=0.01)


def test_two_classes_differ() -> None:
    maps = [unit_range(explained(SCENE, index).outcome.map) for index in (0, CLASS)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


def test_another_last_layer_changes_the_map() -> None:
    other = Scene.of(with_another_head(SCENE.network))
    maps = [unit_range(explained(scene).outcome.map) for scene in (SCENE, other)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05
