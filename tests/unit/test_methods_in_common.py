"""What methods on rows have in common: seeds repeat their maps, classes and layers change them."""

import numpy as np
import pytest

from salience_service.interpolation import unit_range
from salience_service.methods import METHODS
from salience_service.methods.options import resolve
from tests.support.answering import Scene, class_target, hear, pyramid, with_another_head

SCENE = Scene.of(pyramid())
CLASS = 2
OF_THE_IMAGE: dict[str, dict[str, float | int | str]] = {
    "kernel-shap": {"samples": 60, "superpixels": "slic", "segments": 12},
    "lime": {"samples": 60, "superpixels": "slic", "segments": 12},
    "occlusion": {"window": 12, "stride": 6},
    "rise": {"masks": 100, "probability": 0.3},
}
OF_A_TAP: dict[str, dict[str, float | int | str]] = {
    "ablation-cam": {},
    "is-cam": {},
    "ss-cam": {"samples": 6, "seed": 11},
}


def map_of(name: str, scene: Scene = SCENE, index: int = CLASS, **options: int) -> np.ndarray:
    """A method's map of a class, with its options of this file and those given."""
    method, target = METHODS[name], class_target(index)
    taps = ("coarse",) if name in OF_A_TAP else ()
    stated = {**OF_THE_IMAGE, **OF_A_TAP}[name] | options
    run = method.run(scene.base(target, *taps), resolve(method.options, stated))
    return hear(run, scene, target).outcome.map


@pytest.mark.parametrize("name", ["kernel-shap", "lime", "rise"])
def test_the_same_seed_repeats_every_bit_and_another_does_not(name: str) -> None:
    first, again, other = (map_of(name, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 * np.ptp(first)


@pytest.mark.parametrize("name", OF_THE_IMAGE)
def test_two_classes_differ_and_so_does_another_last_layer(name: str) -> None:
    one = map_of(name)
    spread = np.ptp(one)
    assert np.abs(map_of(name, index=0) - one).max() > 0.05 * spread
    other = Scene.of(with_another_head(SCENE.network))
    assert np.abs(map_of(name, other) - one).max() > 0.05 * spread


@pytest.mark.parametrize("name", OF_A_TAP)
def test_two_classes_differ_and_another_last_layer_changes_the_map(name: str) -> None:
    other = Scene.of(with_another_head(SCENE.network))
    one, two, three = (
        unit_range(map_of(name, scene, index))
        for scene, index in ((SCENE, CLASS), (SCENE, 0), (other, CLASS))
    )
    assert np.abs(one - two).max() > 0.05
    assert np.abs(one - three).max() > 0.05
