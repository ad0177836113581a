"""Images through the whole engine: the model answers as torch answers for the same pixels."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from salience_client import Client, Pixels, TopK
from salience_client.image import ImageLike
from salience_service.bundle.manifest import Interpolation, Resize, ResizeRule
from salience_service.bundle.manifest_json import to_json
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.interpolation import upsample
from tests.conftest import BundleOf
from tests.oracle.geometry import axis_to_original, seen_pixels
from tests.oracle.preprocessing import normalised
from tests.support import networks
from tests.support.contracts import image_contract
from tests.support.engines import client_over, engine_over, logits_of
from tests.support.image_files import GREY, png16
from tests.support.serving import serving

CLASSES = 10
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    with client_over(bundle_of("softmax"), bundle_of("grey")) as made:
        yield made


def intensities(channels: int, height: int = 57, width: int = 44) -> NDArray[np.float64]:
    """Smooth shapes with grain, [height, width, channels] in [0.1, 0.9]."""
    random = np.random.default_rng(5)
    coarse = random.uniform(0.15, 0.85, (channels, 5, 4)).astype(np.float32)
    smooth = np.stack([upsample(plane[None], height, width)[0] for plane in coarse], -1)
    return np.clip(smooth + random.normal(0, 0.05, smooth.shape), 0.1, 0.9)


def answered(client: Client, model: str, image: ImageLike) -> NDArray[np.float64]:
    """All logits, by way of every class as a target of the cheapest method."""
    explanation = client.explain(image, model=model, methods="fake-cam", targets=TopK(CLASSES))
    return logits_of(explanation, CLASSES)


def by_torch(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Logits of the network behind the bundles, for an input [C, 32, 32]."""
    network = networks.residual_net(channels=len(tensor))
    with torch.no_grad():
        return network(tensor.float()[None])[0].double().numpy()


def deep(intensity: NDArray[np.float64]) -> torch.Tensor:
    """Resized by torch in float64 and normalised, [C, 32, 32]."""
    planes = torch.from_numpy(intensity).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(planes, (32, 32), mode="bilinear", antialias=True)
    taken = image_contract(intensity.shape[2])
    mean, std = (torch.tensor(values)[:, None, None] for values in (taken.mean, taken.std))
    return (small[0] - mean) / std


def eight_bit(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Resized by Pillow and normalised as torchvision does, [C, 32, 32]."""
    image = Image.fromarray(pixels.squeeze()).resize((32, 32), Image.Resampling.BILINEAR)
    taken = image_contract(pixels.shape[2])
    return normalised(image, list(taken.mean), list(taken.std))


def png(pixels: NDArray[np.uint8], **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG", **options)
    return file.getvalue()


def assert_close(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_a_16_bit_grey_png_through_a_one_channel_model_equals_torch(client: Client) -> None:
    pixels = np.rint(intensities(1) * 65535).astype(np.uint16)
    expected = by_torch(deep(pixels / 65535))
    assert_close(answered(client, "grey", png16(pixels, GREY)), expected)


def test_all_16_bits_of_a_faint_grey_png_count(client: Client) -> None:
    """Intensities within two steps of 8 bits: with 8 bits alone the answer is another."""
    pixels = np.rint(30_000 + 500 * intensities(1)).astype(np.uint16)
    expected = by_torch(deep(pixels / 65535))
    coarse = by_torch(deep((pixels >> 8) / 255))
    found = answered(client, "grey", png16(pixels, GREY))
    assert np.abs(found - expected).max() < np.abs(coarse - expected).max() / 10


def test_an_8_bit_grey_png_through_a_one_channel_model_equals_torch(client: Client) -> None:
    pixels = np.rint(intensities(1) * 255).astype(np.uint8)
    assert_close(answered(client, "grey", png(pixels)), by_torch(eight_bit(pixels)))


def test_an_8_bit_colour_png_equals_torch(client: Client) -> None:
    pixels = np.rint(intensities(3) * 255).astype(np.uint8)
    assert_close(answered(client, "softmax", png(pixels)), by_torch(eight_bit(pixels)))


def test_a_16_bit_colour_tensor_equals_torch(client: Client) -> None:
    pixels = np.rint(intensities(3) * 65535).astype(np.uint16)
    assert_close(answered(client, "softmax", pixels), by_torch(deep(pixels / 65535)))


def test_12_bits_in_16_are_read_by_their_stated_full_scale(client: Client) -> None:
    pixels = np.rint(intensities(1) * 4095).astype(np.uint16)
    found = answered(client, "grey", Pixels(pixels, full_scale=4095))
    assert_close(found, by_torch(deep(pixels / 4095)))


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photograph_turned_by_exif_is_explained_as_its_upright_twin(
    client: Client, orientation: int
) -> None:
    upright = np.rint(intensities(3) * 255).astype(np.uint8)
    turns = {3: 2, 6: 1, 8: -1}[orientation]  # quarter turns against the clock, as stored
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = png(np.ascontiguousarray(np.rot90(upright, turns)), exif=exif)
    first, second = (
        client.explain(data, model="softmax", methods="score-cam", targets=2, geometry="original")
        for data in (png(upright), turned)
    )
    assert (second.prediction.image_height, second.prediction.image_width) == upright.shape[:2]
    assert second.maps[0].array.shape == upright.shape[:2]
    np.testing.assert_array_equal(second.maps[0].array, first.maps[0].array)


@pytest.fixture(scope="module")
def cropping(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small residual net, told that its input is cut from a short side of 40 pixels."""
    directory = tmp_path_factory.mktemp("cropping") / "1"
    directory.mkdir()
    for file in tiny_bundle.manifest.files:
        (directory / file.path).write_bytes(Path(tiny_bundle.path(file.path)).read_bytes())
    resize = Resize(ResizeRule.SHORT_SIDE, Interpolation.BILINEAR, short_side=40)
    taken = replace(tiny_bundle.manifest.input, resize=resize)
    manifest = replace(tiny_bundle.manifest, input=taken)
    (directory / "manifest.json").write_text(to_json(manifest), encoding="utf-8")
    return open_bundle(directory)


def profile_matrix(samples: int, original: int, resized: int, offset: int) -> NDArray[np.float64]:
    """How each sample of a map's axis reaches the original's axis, by exact fractions."""
    ones = np.eye(samples).tolist()
    return np.array([axis_to_original(one, original, resized, 32, offset) for one in ones]).T


@pytest.mark.parametrize(("height", "width"), [(2000, 3000), (3000, 2000)])
def test_a_map_of_3000_by_2000_pixels_arrives_whole_and_marks_what_the_crop_kept_out(
    cropping: Bundle, height: int, width: int
) -> None:
    file = io.BytesIO()
    small = np.rint(intensities(3, height // 20, width // 20) * 255).astype(np.uint8)
    Image.fromarray(small).resize((width, height)).save(file, "JPEG")
    with (
        engine_over(cropping) as engine,
        serving(engine) as server,
        Client(server.address) as client,
    ):
        whole, raw = (
            client.explain(
                file.getvalue(),
                model="softmax",
                methods="score-cam",
                targets=3,
                geometry=geometry,
                scale=scale,
            ).maps[0]
            for geometry, scale in (("original", "unit"), ("feature", "raw"))
        )
    assert len(whole.data) == 24_000_000
    resized = (40, 60) if height < width else (60, 40)
    offsets = [(side - 32) // 2 for side in resized]
    axes = list(zip((height, width), resized, offsets, strict=True))
    rows, columns = (seen_pixels(full, side, 32, offset) for full, side, offset in axes)
    assert whole.validity is not None
    np.testing.assert_array_equal(whole.validity, np.outer(rows, columns))
    assert whole.validity.sum() == 1600 * 1600
    assert not whole.array[~whole.validity].any()
    down, across = (
        profile_matrix(count, *axis) for count, axis in zip(raw.array.shape, axes, strict=True)
    )
    expected = down @ raw.array @ across.T
    inside = expected[whole.validity]
    unit = (inside - inside.min()) / (inside.max() - inside.min())
    np.testing.assert_allclose(whole.array[whole.validity], unit, atol=1e-5)
