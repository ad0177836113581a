"""Methods that mask pixels through the whole engine: real graphs, against the oracles on torch."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from salience_client import Client, InvalidRequest, Method, PartialMap, Preprocessed
from salience_service.interpolation import upsample
from salience_service.methods.rows.random_grids import RandomGrids
from tests.conftest import BundleOf
from tests.oracle.occlusion import occlusion
from tests.oracle.rise import rise
from tests.support import networks
from tests.support.engines import client_over

NOISE = np.random.default_rng(8).normal(size=(3, 8, 8)).astype(np.float32)
PICTURE = upsample(NOISE, 32, 32)
GREY = PICTURE[:1]
CLASS = 3
METHODS = [
    Method("rise", masks=70, probability=0.4),
    Method("occlusion", window=11, stride=4),
    Method("lime", samples=90, superpixels="slic", segments=40),
    Method("kernel-shap", samples=90, superpixels="slic", segments=40),
]


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    with client_over(bundle_of("softmax"), bundle_of("grey")) as made:
        yield made


def asked(client: Client, method: Method, target: object = CLASS, **more: object) -> np.ndarray:
    answer = client.explain(
        Preprocessed(PICTURE), model="softmax", methods=method, targets=target, scale="raw", **more
    )
    return answer.maps[0].array


def close(found: np.ndarray, expected: torch.Tensor) -> None:
    wanted = expected.numpy()
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.ptp(wanted))


@torch.no_grad()
def test_rise_equals_its_oracle(client: Client) -> None:
    network, image = networks.residual_net().double(), torch.from_numpy(PICTURE).double()
    masks = torch.from_numpy(RandomGrids(70, 8, 0.4, 0, 32, 32)[0:70]).double()
    expected = rise(
        network, image, masks, lambda y: y.softmax(0)[CLASS], torch.zeros_like(image), 0.4
    )
    close(asked(client, METHODS[0]), expected)


@torch.no_grad()
def test_occlusion_equals_its_oracle(client: Client) -> None:
    network, image = networks.residual_net().double(), torch.from_numpy(PICTURE).double()
    expected = occlusion(network, image, lambda y: y[CLASS], torch.zeros_like(image), 11, 4)
    close(asked(client, METHODS[1]), expected)


def test_kernel_shap_sums_to_what_the_image_adds_to_the_fill(client: Client) -> None:
    found = asked(client, METHODS[3])
    with torch.no_grad():
        rows = torch.stack([torch.from_numpy(PICTURE), torch.zeros(3, 32, 32)])
        ends = networks.residual_net()(rows)[:, CLASS].numpy()
    # The map holds one value a superpixel; no two of these are alike.
    assert np.unique(found).sum() == pytest.approx(ends[0] - ends[1], rel=1e-3)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_request_repeats_every_bit_and_another_seed_does_not(
    client: Client, method: Method
) -> None:
    found = asked(client, method)
    np.testing.assert_array_equal(asked(client, method), found)
    if method.name != "occlusion":
        other = Method(method.name, **{**method.options, "seed": 1})
        assert np.abs(asked(client, other) - found).max() > 0.01 * np.ptp(found)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_grey_model_is_answered_with_maps_in_the_making(client: Client, method: Method) -> None:
    events = client.stream(Preprocessed(GREY), model="grey", methods=method, targets=CLASS)
    partials = [event for event in events if isinstance(event, PartialMap)]
    assert partials
    assert all(np.isfinite(partial.array).all() for partial in partials)
    (found,) = client.explain(Preprocessed(GREY), model="grey", methods=method, targets=CLASS).maps
    assert np.ptp(found.array) > 0


def test_a_window_larger_than_the_models_input_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"window is 64.*32×32 pixels.*at most 32"):
        asked(client, Method("occlusion", window=64, stride=8))
