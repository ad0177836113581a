"""Fusion of several taps: against its oracle, signed and not, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor

from salience_service.errors import InvalidRequest
from salience_service.interpolation import unit_range
from salience_service.methods import METHODS, TapRule
from salience_service.methods.gradients.fusion import balanced, fused
from salience_service.methods.method import Extent
from salience_service.methods.probe import Gradients
from tests.oracle.fusion import fuse, fuse_signed
from tests.oracle.grad_cam import grad_cam
from tests.oracle.grad_cam_plus_plus import grad_cam_plus_plus
from tests.oracle.hires_cam import hires_cam
from tests.oracle.x_grad_cam import x_grad_cam
from tests.support.answering import hear
from tests.support.gradients import CLASS, SCENE, SIZE, TAPS, TARGETS, explained, tail_of

FUSIONS = ["mean", "max", "product"]
EVIDENCE = ("grad-cam", "xgrad-cam", "hires-cam")
ORACLES = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "xgrad-cam": x_grad_cam,
    "hires-cam": hires_cam,
}
BASE = SCENE.base(TARGETS[0], *TAPS)


def oracle_maps(method: str) -> list[Tensor]:
    """The oracle's map of each tap, coarse to fine, as it comes."""
    return [
        ORACLES[method](tail_of(SCENE.network, tap), SCENE.features(tap), lambda y: y[CLASS])
        for tap in TAPS
    ]


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("method", ORACLES)
def test_several_taps_fuse_as_their_oracle(method: str, fusion: str) -> None:
    cut = {"relu": True} if method == "hires-cam" else {}
    found = explained(method, *TAPS, fusion=fusion, **cut).outcome
    expected = fuse([F.relu(each) for each in oracle_maps(method)], fusion, SIZE).numpy()
    assert not found.signed
    assert found.map.dtype == np.float32
    assert expected.max() > 0.01
    np.testing.assert_allclose(found.map, expected, atol=1e-4)


def test_signed_maps_are_averaged_each_over_its_greatest_absolute_value() -> None:
    found = explained("hires-cam", *TAPS).outcome
    expected = fuse_signed(oracle_maps("hires-cam"), SIZE).numpy()
    assert found.signed
    assert expected.min() < -0.05
    np.testing.assert_allclose(found.map, expected, atol=1e-4)


@pytest.mark.parametrize("method", EVIDENCE)
def test_signed_maps_of_several_taps_are_refused_any_other_fusion(method: str) -> None:
    several, one = Extent((9, 7), *SIZE), Extent((9,), *SIZE)
    named = METHODS[method]
    for fusion in ("max", "product"):
        signed = named.options(relu=False, fusion=fusion)
        with pytest.raises(InvalidRequest, match=rf"fusion is {fusion} .* of 2 taps .* mean"):
            named.rows(several, signed)
        assert named.rows(one, signed) == 1
        assert named.rows(several, named.options(relu=True, fusion=fusion)) == 1
    assert named.rows(several, named.options(relu=False, fusion="mean")) == 1


@pytest.mark.parametrize(
    "method", [name for name, method in METHODS.items() if method.taps is TapRule.FUSED]
)
def test_of_one_tap_the_map_stays_at_its_resolution_whatever_the_fusion(method: str) -> None:
    maps = [explained(method, "middle", fusion=fusion).outcome.map for fusion in FUSIONS]
    assert maps[0].shape == (13, 10)
    assert maps[0].any()
    for each in maps[1:]:
        np.testing.assert_array_equal(each, maps[0])
    assert explained(method, *TAPS).outcome.map.shape == SIZE


@pytest.mark.parametrize("method", [*ORACLES, "layer-cam", "zoom-cam"])
def test_all_taps_are_asked_in_one_gradient(method: str) -> None:
    heard = explained(method, *TAPS)
    (probe,) = heard.probes
    assert isinstance(probe, Gradients)
    assert (probe.taps, probe.of_image) == (TAPS, False)
    np.testing.assert_array_equal(probe.image, BASE.image)


@pytest.mark.parametrize("method", [*ORACLES, "layer-cam", "zoom-cam", "smooth-grad-cam++"])
@pytest.mark.parametrize("value", [0.0, -0.0, 0.3])
def test_flat_features_of_any_number_of_taps_give_a_flat_map(method: str, value: float) -> None:
    for taps in (("coarse",), TAPS):
        base = SCENE.base(TARGETS[0], *taps)
        flat = {tap: np.full_like(A, value) for tap, A in base.features.items()}
        named = METHODS[method]
        options = named.options()
        run = named.run(replace(base, features=flat), options)
        outcome = hear(run, SCENE, TARGETS[0]).outcome
        assert np.isfinite(outcome.map).all()
        if value == 0 or method not in ("hires-cam", "layer-cam", "zoom-cam"):
            assert not unit_range(outcome.map).any()


def test_maps_that_are_negative_everywhere_become_zeros_and_none_is_lost_in_a_fusion() -> None:
    gone, seen = np.zeros((7, 5)), np.eye(7, 5)
    assert not fused([gone, gone], "mean", BASE).any()
    assert not fused([gone, seen], "product", BASE).any()
    assert fused([gone, seen], "max", BASE).max() == pytest.approx(1, abs=0.2)
    assert not balanced([gone, gone], BASE).any()
