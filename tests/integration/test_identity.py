"""The free identity: pooling and one linear layer make CAM, Grad-CAM, XGrad-CAM, HiResCAM one map.

y = b + Σ_k w_k mean_ij A_k,ij, so that ∂y/∂A_k is w_k / Z everywhere, Z = h w: the average of
the gradient, the average that features weigh, and the gradient itself are all w_k / Z.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from salience_client import Client, Method, Preprocessed
from salience_service.interpolation import unit_range, upsample
from tests.conftest import BundleOf
from tests.support.engines import client_over

AREA = 4 * 4
GRADIENT_CAMS = ("grad-cam", "xgrad-cam", "hires-cam")
CAMS = ("cam", *GRADIENT_CAMS)
CLASSES = range(10)


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    with client_over(bundle_of("softmax"), bundle_of("vgg")) as made:
        yield made


def maps(
    client: Client, model: str, tap: str, relu: bool, side: str = "onnx"
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """The map of every method and class as it was made, float32 [h, w]."""
    methods = CAMS if model == "softmax" and tap == "layer3" else GRADIENT_CAMS
    noise = np.random.default_rng(0).normal(size=(3, 8, 8))
    answer = client.explain(
        Preprocessed(upsample(noise.astype(np.float32), 32, 32)),
        model=model,
        methods=[Method(name, [tap], relu=relu) for name in methods],
        targets=list(CLASSES),
        geometry="feature",
        scale="raw",
        gradient_side=side,  # type: ignore[arg-type]
    )
    return {
        (found.method, int(found.target.index)): np.asarray(found.array, np.float32)
        for found in answer.maps
    }


@pytest.mark.parametrize("side", ["onnx", "torch"])
def test_signed_they_are_one_map_and_cam_is_it_times_the_places(client: Client, side: str) -> None:
    found = maps(client, "softmax", "layer3", relu=False, side=side)
    assert len(found) == len(CAMS) * len(CLASSES)
    assert any(found["cam", index].min() < 0 < found["cam", index].max() for index in CLASSES)
    for index in CLASSES:
        cam = found["cam", index]
        assert np.ptp(cam) > 0.01
        for name in GRADIENT_CAMS:
            assert np.abs(found[name, index] * AREA - cam).max() <= 1e-5 * np.abs(cam).max()


def test_rectified_and_min_maxed_they_are_one_map(client: Client) -> None:
    """Of some classes it is negative everywhere: all four are zeros then."""
    found = maps(client, "softmax", "layer3", relu=True)
    assert {found["cam", index].any() for index in CLASSES} == {True, False}
    for index in CLASSES:
        cam = unit_range(found["cam", index])
        for name in GRADIENT_CAMS:
            assert np.abs(unit_range(found[name, index]) - cam).max() <= 1e-5


@pytest.mark.parametrize(("model", "tap"), [("softmax", "layer2"), ("vgg", "features.7")])
def test_where_more_than_that_follows_they_differ(client: Client, model: str, tap: str) -> None:
    found = maps(client, model, tap, relu=False)
    for one, other in (("grad-cam", "hires-cam"), ("xgrad-cam", "hires-cam")):
        differences = [
            np.abs(unit_range(found[one, index]) - unit_range(found[other, index])).max()
            for index in CLASSES
        ]
        assert min(differences) > 0.01
