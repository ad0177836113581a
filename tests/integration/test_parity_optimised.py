"""Optimised and guided methods of the engine beside packages and oracles, options matched.

The largest difference after min–max may be 1e-3; what was measured stands at each test.
The packages and oracles run the torch networks that the bundles were exported from. Opti-CAM is
in no package: the authors' code is held by its oracle, every objective and normaliser of it.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from salience_client import Client, Method, NotPossible, PartialMap, Preprocessed, SaliencyMap
from salience_service.bundle.reader import Bundle
from salience_service.interpolation import unit_range
from tests.oracle.extremal_perturbation import extremal_perturbation
from tests.oracle.opti_cam import opti_cam
from tests.support import peers
from tests.support.bundles import without
from tests.support.engines import client_over
from tests.support.parity import NETWORKS, exported, network_of
from tests.support.pictures import picture

RELUS = ("residual", "vgg")
CLASS, SIZE = 3, (32, 32)
TOLERANCE = 1e-3

Map = NDArray[np.float32]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    models = tmp_path_factory.mktemp("parity")
    return {kind: exported(kind, models) for kind in NETWORKS}


@pytest.fixture(scope="module")
def client(bundles: dict[str, Bundle]) -> Iterator[Client]:
    with client_over(*bundles.values()) as made:
        yield made


def raw(client: Client, kind: str, method: Method, **asked: object) -> Map:
    """Our map as the method made it."""
    answer = client.explain(
        Preprocessed(picture()), model=kind, methods=method, targets=CLASS, scale="raw", **asked
    )
    return np.asarray(answer.maps[0].array, np.float32)


def assert_near(found: Map, expected: NDArray[np.floating], tolerance: float = TOLERANCE) -> None:
    """At most so far apart, both min–maxed, and neither flat."""
    wanted = unit_range(np.asarray(expected, np.float32))
    assert wanted.max() == 1
    np.testing.assert_allclose(unit_range(found), wanted, rtol=0, atol=tolerance)


def image64() -> Tensor:
    return torch.from_numpy(picture()).double()


@pytest.mark.parametrize("side", ["onnx", "torch"])
@pytest.mark.parametrize("normaliser", ["range", "max", "sigmoid"])
@pytest.mark.parametrize("objective", ["mask", "diff", "iomask", "iodiff"])
def test_opti_cam_equals_its_oracle_on_either_side(
    client: Client, objective: str, normaliser: str, side: str
) -> None:
    """Ten steps on a smooth network, where float32 and float64 climb alike. Measured: 2.4e-7."""
    network = network_of("smooth").double()
    image = image64()
    with torch.no_grad():
        features = network.tanh(network.conv2(network.soft(network.conv1(image[None]))))[0]
    fill = torch.zeros_like(image)
    values, maps = opti_cam(
        network, image, features, lambda y: y[CLASS], fill, 10,
        kind=objective, normaliser=normaliser,
    )  # fmt: skip
    asked = Method(
        "opti-cam", ["tanh"], iterations=10, stop="none", objective=objective, normaliser=normaliser
    )
    found = raw(client, "smooth", asked, geometry="feature", gradient_side=side)
    assert_near(found, maps[int(np.argmax(values))].numpy())


@pytest.mark.parametrize("side", ["onnx", "torch"])
@pytest.mark.parametrize("kind", ["blur", "fade"])
def test_extremal_perturbation_equals_its_oracle_on_either_side(
    client: Client, kind: str, side: str
) -> None:
    """Measured: 2.9e-4 blurred, 7e-5 faded, either side.

    The oracle in float32 is 5e-4 from itself in float64: at the start many pixels of a mask
    are equal, and the area sorts them by their rounding.
    """
    image = image64()
    masks, _ = extremal_perturbation(
        network_of("smooth").double(), image, torch.zeros_like(image), lambda y: y[CLASS],
        0.2, 20, kind,
    )  # fmt: skip
    asked = Method("extremal-perturbation", areas="0.2", iterations=20, perturbation=kind)
    assert_near(raw(client, "smooth", asked, gradient_side=side), masks[-1].numpy())


@pytest.mark.parametrize("kind", ["blur", "fade"])
def test_extremal_perturbation_equals_torchrays(client: Client, kind: str) -> None:
    """200 steps; TorchRay's masks, which it leaves apart, are averaged here. Measured: 1.6e-5."""
    torchray = pytest.importorskip(
        "torchray.attribution.extremal_perturbation",
        reason="parity with TorchRay needs the package torchray (pip --no-deps) and matplotlib",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It calls torch.meshgrid without its indexing.
        masks, _ = torchray.extremal_perturbation(
            network_of("smooth"), torch.from_numpy(picture())[None], CLASS,
            areas=[0.1, 0.2], max_iter=200, perturbation=kind,
        )  # fmt: skip
    asked = Method("extremal-perturbation", areas="0.1,0.2", iterations=200, perturbation=kind)
    assert_near(raw(client, "smooth", asked), masks.mean(dim=(0, 1)).numpy())


def in_colours(gradient: NDArray[np.floating], values: str, reduction: str) -> NDArray[np.floating]:
    """[C, H, W] as one number a pixel."""
    counted = np.abs(gradient) if values == "absolute" else gradient
    return counted.max(0) if reduction == "max" else counted.sum(0)


COLOURS = [("absolute", "max"), ("signed", "sum")]


@pytest.fixture(scope="module")
def grad_cam() -> ModuleType:
    return peers.pytorch_grad_cam()


@pytest.fixture(scope="module")
def captum() -> ModuleType:
    return peers.captum_attr()


@pytest.mark.parametrize(("values", "reduction"), COLOURS)
@pytest.mark.parametrize("kind", RELUS)
def test_guided_backprop_equals_pytorch_grad_cams(
    client: Client, grad_cam: ModuleType, kind: str, values: str, reduction: str
) -> None:
    """Measured: 1.8e-7."""
    by_package = grad_cam.GuidedBackpropReLUModel(network_of(kind), "cpu")
    expected = by_package(torch.from_numpy(picture())[None], CLASS).transpose(2, 0, 1)
    found = raw(client, kind, Method("guided-backprop", values=values, reduction=reduction))
    assert_near(found, in_colours(expected, values, reduction))


def apart(network: nn.Module) -> nn.Module:
    """The network with no ReLU in place, as captum's hooks ask for."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network


@pytest.mark.parametrize(("values", "reduction"), COLOURS)
def test_guided_backprop_equals_captums(
    client: Client, captum: ModuleType, values: str, reduction: str
) -> None:
    """Of the VGG alone: captum cannot hook a ReLU that a network calls twice. Measured: 2e-7."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says that it sets hooks.
        expected = captum.GuidedBackprop(apart(network_of("vgg"))).attribute(
            torch.from_numpy(picture())[None].requires_grad_(), CLASS
        )
    found = raw(client, "vgg", Method("guided-backprop", values=values, reduction=reduction))
    assert_near(found, in_colours(expected[0].detach().numpy(), values, reduction))


@pytest.mark.parametrize(("values", "reduction"), COLOURS)
@pytest.mark.parametrize("tap", ["features.7", "features.4"])
def test_guided_grad_cam_equals_captums(
    client: Client, captum: ModuleType, tap: str, values: str, reduction: str
) -> None:
    """Its upsampling is nearest by default, and bilinear here. Measured: 3e-7."""
    network = apart(network_of("vgg"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.GuidedGradCam(network, network.get_submodule(tap)).attribute(
            torch.from_numpy(picture())[None].requires_grad_(), CLASS, interpolate_mode="bilinear"
        )
    asked = Method("guided-grad-cam", [tap], values=values, reduction=reduction)
    assert_near(
        raw(client, "vgg", asked), in_colours(expected[0].detach().numpy(), values, reduction)
    )


GUIDED = ("guided-backprop", "guided-grad-cam")


@pytest.mark.parametrize("method", GUIDED)
def test_guided_maps_say_that_torch_made_them_and_that_they_fail_sanity_checks(
    client: Client, method: str
) -> None:
    (found,) = client.explain(Preprocessed(picture()), model="vgg", methods=method).maps
    assert found.provenance.gradient_side == "torch"
    assert "fails-sanity-checks" in found.flags
    assert np.isfinite(found.array).all()


@pytest.mark.parametrize("method", GUIDED)
def test_guided_methods_are_refused_where_they_cannot_be(
    client: Client, bundles: dict[str, Bundle], tmp_path: Path, method: str
) -> None:
    image = Preprocessed(picture())
    with pytest.raises(NotPossible, match="the onnx side cannot guide gradients"):
        client.explain(image, model="vgg", methods=method, gradient_side="onnx")
    with pytest.raises(NotPossible, match=r"model smooth has no ReLU at which to guide.*gradient"):
        client.explain(image, model="smooth", methods=method)
    with client_over(without(bundles["vgg"], tmp_path / "1", program=False)) as lacking:
        with pytest.raises(NotPossible, match="exported without a torch program"):
            lacking.explain(image, model="vgg", methods=method)
        told = {each.name: each for each in lacking.describe("vgg").methods}
        assert not told[method].available
        assert "without a torch program" in told[method].unavailable_reason
        assert told["gradient"].available


def test_a_description_says_which_models_can_be_guided(client: Client) -> None:
    for kind in NETWORKS:
        told = {each.name: each for each in client.describe(kind).methods}
        for method in GUIDED:
            assert told[method].available == (kind in RELUS)
            assert told[method].fails_sanity_checks


def test_a_guided_request_leaves_the_next_one_its_true_gradient(client: Client) -> None:
    asked = {
        "client": client,
        "kind": "vgg",
        "method": Method("gradient"),
        "gradient_side": "torch",
    }
    before = raw(**asked)
    raw(client, "vgg", Method("guided-backprop"))
    np.testing.assert_array_equal(raw(**asked), before)


def test_extremal_perturbation_shows_its_mask_as_it_grows(client: Client) -> None:
    asked = Method("extremal-perturbation", areas="0.1,0.3", iterations=25)
    events = list(client.stream(Preprocessed(picture()), model="vgg", methods=asked, targets=CLASS))
    partials = [event for event in events if isinstance(event, PartialMap)]
    assert [partial.fraction for partial in partials] == pytest.approx([0, 0.2, 0.4, 0.5, 0.7, 0.9])
    (found,) = (event for event in events if isinstance(event, SaliencyMap))
    assert (found.iterations, found.provenance.options["areas"]) == (25, "0.1,0.3")
