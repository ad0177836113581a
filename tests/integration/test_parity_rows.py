"""Methods on features and tails beside torch-cam and pytorch-grad-cam, options matched.

Ours run in the engine, on the exported graphs of the small residual net; the packages on its
torch module. Its last layer is forty times as strong as it was drawn: with logits that hardly
differ, a softmax weighs all channels alike, and any Score-CAM equals any other. Where a package
does one thing another way, the test changes that one thing in it, and says which. Compared after
min–max, to 1e-3.

No package has these, which have their oracles only: IS-CAM with α = i/N, SS-CAM with shared
noise, Score-CAM weighed by cic, cdc and cvc, Eigen-CAM that is not centred.
"""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salience_client import Client, Method, NotPossible, Preprocessed
from salience_export import Destination, ModelContract, export_torch
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.reader import open_bundle
from salience_service.interpolation import unit_range, upsample
from salience_service.methods.rows.noisy_masks import Noise
from tests.oracle.ablation_cam import ablation_cam
from tests.support import networks
from tests.support.contracts import image_contract
from tests.support.engines import client_over
from tests.support.peers import pytorch_grad_cam, torchcam_methods
from tests.support.pictures import picture

ATOL = 1e-3
CLASS, UNLIKELY = 3, 5
"""A class whose logit is above zero, and one whose logit is below."""
TAPS = ("layer3", "layer2")
Map = NDArray[np.float32]


def sharp_net() -> torch.nn.Module:
    """The residual net with logits of about ten."""
    network = networks.residual_net()
    with torch.no_grad():
        network.head.weight.mul_(40)
        network.head.bias.mul_(40)
    return network


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    contract = ModelContract(image_contract(), OutputKind.SOFTMAX)
    place = Destination(tmp_path_factory.mktemp("sharp"), "sharp")
    with client_over(open_bundle(export_torch(sharp_net(), contract, place).directory)) as made:
        yield made


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return sharp_net()


@pytest.fixture(scope="module")
def torchcam() -> ModuleType:
    return torchcam_methods()


@pytest.fixture(scope="module")
def grad_cam() -> ModuleType:
    return pytorch_grad_cam()


def ours(client: Client, name: str, tap: str, target: int = CLASS, **options: object) -> Map:
    """Our map as the method made it, [h, w] of the tap."""
    answer = client.explain(
        Preprocessed(picture()), model="sharp", methods=Method(name, [tap], **options),
        targets=target, geometry="feature", scale="raw",
    )  # fmt: skip
    return np.asarray(answer.maps[0].array, np.float32)


def of_torchcam(network: torch.nn.Module, extractor) -> Map:
    with extractor, torch.no_grad():
        logits = network(torch.from_numpy(picture())[None])
        return extractor(CLASS, logits, normalized=False)[0][0].numpy()


def of_grad_cam(network: torch.nn.Module, method, tap: str, target: int = CLASS) -> Map:
    """pytorch-grad-cam's map, which it brings to the image's size, [32, 32]."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with method(model=network, target_layers=[network.get_submodule(tap)]) as cam:
        return cam(torch.from_numpy(picture())[None], [ClassifierOutputTarget(target)])[0]


def at_image_size(image_map: Map) -> Map:
    """Our map as pytorch-grad-cam finishes one: cut at zero, min–max, upsampled."""
    return upsample(unit_range(np.maximum(image_map, 0)), 32, 32)


def assert_same(one: Map, other: Map) -> None:
    assert unit_range(other).max() == 1, "a map of nothing is compared"
    np.testing.assert_allclose(unit_range(one), unit_range(other), rtol=0, atol=ATOL)


def assert_weighs_channels(image_map: Map, network: torch.nn.Module, tap: str) -> None:
    """The map is not that of equal weights, which every kind of Score-CAM comes near."""
    with torch.no_grad():
        plain = features_of(network, tap).mean(0).numpy()
    assert np.abs(unit_range(image_map) - unit_range(plain)).max() > 20 * ATOL


def up_then_scaled(method):
    """torch-cam's class with masks min–maxed after they are upsampled, as papers and we do."""

    class Matched(method):
        def _upsample(self, activation):
            up = super()._upsample(activation)
            low, high = up.amin((2, 3), keepdim=True), up.amax((2, 3), keepdim=True)
            return (up - low) / (high - low).clamp_min(1e-8)

    return Matched


def test_cam_is_torchcams(client: Client, network: torch.nn.Module, torchcam: ModuleType) -> None:
    """torch-cam's has no relu, though its documentation says so."""
    found = ours(client, "cam", "layer3")
    theirs = of_torchcam(network, torchcam.CAM(network, "layer3", "head"))
    assert theirs.min() < 0 < theirs.max()
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    assert_same(found, theirs)


def test_cam_is_hires_cam_times_the_places_of_its_map(client: Client) -> None:
    found, hires = ours(client, "cam", "layer3"), ours(client, "hires-cam", "layer3")
    np.testing.assert_allclose(found, hires * found.size, rtol=0, atol=1e-5 * np.abs(found).max())


def test_cam_is_refused_where_more_than_a_pooling_and_a_linear_layer_follow(
    client: Client,
) -> None:
    with pytest.raises(NotPossible, match="layer2 is not: use grad-cam"):
        ours(client, "cam", "layer2")


@pytest.mark.parametrize("tap", TAPS)
def test_score_cam_is_torchcams(
    client: Client, network: torch.nn.Module, torchcam: ModuleType, tap: str
) -> None:
    """Changed in torch-cam: masks are min–maxed after they are upsampled."""
    extractor = up_then_scaled(torchcam.ScoreCAM)(network, tap)
    found = ours(client, "score-cam", tap)
    assert_weighs_channels(found, network, tap)
    assert_same(found, of_torchcam(network, extractor))


@pytest.mark.parametrize("tap", TAPS)
def test_score_cam_is_pytorch_grad_cams(
    client: Client,
    network: torch.nn.Module,
    grad_cam: ModuleType,
    tap: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changed in pytorch-grad-cam: align_corners is off."""

    def upsampling(size: tuple[int, int]) -> torch.nn.Module:
        return torch.nn.Upsample(size=size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", upsampling)
    theirs = of_grad_cam(network, grad_cam.ScoreCAM, tap)
    assert_same(at_image_size(ours(client, "score-cam", tap)), theirs)


@pytest.mark.parametrize("tap", TAPS)
def test_is_cam_is_torchcams(
    client: Client, network: torch.nn.Module, torchcam: ModuleType, tap: str
) -> None:
    """Its steps add up: accumulate. Changed in torch-cam: masks are min–maxed when upsampled."""
    extractor = up_then_scaled(torchcam.ISCAM)(network, tap, num_samples=7)
    found = ours(client, "is-cam", tap, steps=7, accumulate=True)
    assert_weighs_channels(found, network, tap)
    assert_same(found, of_torchcam(network, extractor))


@pytest.mark.parametrize("tap", TAPS)
def test_ss_cam_is_torchcams_with_our_noise(
    client: Client, network: torch.nn.Module, torchcam: ModuleType, tap: str
) -> None:
    """Changed in torch-cam: the noise is ours, and masks are min–maxed when upsampled."""

    class OurNoise:
        """Stands for torch's normal distribution: hands out our samples one by one."""

        sampled = 0

        def sample(self, size: torch.Size) -> torch.Tensor:
            _, channels, height, width = size
            noise = Noise(2.0, 5, self.sampled, shared=False)
            self.sampled += 1
            drawn = [noise.of(channel, height, width) for channel in range(channels)]
            return torch.from_numpy(np.stack(drawn))[None]

    extractor = up_then_scaled(torchcam.SSCAM)(network, tap, num_samples=5, std=2.0)
    extractor._distrib = OurNoise()
    found = ours(client, "ss-cam", tap, samples=5, sigma=2.0, noise="channel", seed=5)
    assert_weighs_channels(found, network, tap)
    assert_same(found, of_torchcam(network, extractor))
    assert extractor._distrib.sampled == 5


@pytest.mark.parametrize("tap", TAPS)
def test_eigen_cam_is_pytorch_grad_cams_up_to_its_sign(
    client: Client, network: torch.nn.Module, grad_cam: ModuleType, tap: str
) -> None:
    """The sign of a singular vector is arbitrary: ours may be turned round, as a whole."""
    theirs = of_grad_cam(network, grad_cam.EigenCAM, tap)
    whole = ours(client, "eigen-cam", tap, relu=False)
    signs = [at_image_size(sign * whole) for sign in (1, -1)]
    assert_same(min(signs, key=lambda each: np.abs(each - theirs).max()), theirs)


@pytest.mark.parametrize("tap", TAPS)
def test_eigen_cam_has_the_sign_of_seg_eigen_cam(
    client: Client, network: torch.nn.Module, grad_cam: ModuleType, tap: str
) -> None:
    from pytorch_grad_cam.utils import svd_on_activations

    with torch.no_grad():
        features = features_of(network, tap)
    (theirs,) = svd_on_activations.get_2d_projection_with_sign_correction(features[None].numpy())
    found = ours(client, "eigen-cam", tap, relu=False)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("tap", TAPS)
def test_ablation_cam_is_pytorch_grad_cams_where_the_logit_is_positive(
    client: Client, network: torch.nn.Module, grad_cam: ModuleType, tap: str
) -> None:
    """A tap behind a ReLU, whose least value is zero: elsewhere it takes 1e7 off, again and again.

    It divides by y: where that is negative, its map is that of all weights turned round.
    """
    with torch.no_grad():
        assert features_of(network, tap).min() == 0
        logits = network(torch.from_numpy(picture())[None])[0]
    for target in (int(logits.argmax()), CLASS):
        assert logits[target] > 0
        theirs = of_grad_cam(network, grad_cam.AblationCAM, tap, target)
        assert_same(at_image_size(ours(client, "ablation-cam", tap, target)), theirs)


@pytest.mark.parametrize("tap", ["layer3", "stem"])
def test_ablation_cam_is_its_oracle_for_a_negative_logit_and_on_a_signed_tap(
    client: Client, network: torch.nn.Module, tap: str
) -> None:
    """Where pytorch-grad-cam is no target."""
    exact = sharp_net().double()

    def tail(features: torch.Tensor) -> torch.Tensor:
        if tap == "stem":
            features = exact.layer3(exact.layer2(exact.layer1(features)))
        return exact.head(features.mean((2, 3)))

    with torch.no_grad():
        features = features_of(exact, tap)
        assert tail(features[None])[0, UNLIKELY] < 0
        expected = ablation_cam(tail, features, lambda logits: logits[UNLIKELY]).numpy()
    assert (expected > 0).sum() > 10
    assert_same(ours(client, "ablation-cam", tap, UNLIKELY), expected.astype(np.float32))


def features_of(network: torch.nn.Module, tap: str) -> torch.Tensor:
    """A of a tap, [K, h, w]."""
    found = torch.from_numpy(picture())[None].to(network.head.weight.dtype)
    for name in ("stem", "layer1", "layer2", "layer3"):
        found = network.get_submodule(name)(found)
        if name == tap:
            break
    return found[0]
