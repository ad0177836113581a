"""Fills, scores and encodings through the whole engine, against the oracles."""

import io
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from salience_client import Blur, Client, Colour, Preprocessed
from salience_client.fill import Fill
from salience_service.interpolation import unit_range, upsample
from tests.conftest import BundleOf
from tests.oracle.faithfulness import faithfulness, sigmoid_probability, softmax_probability
from tests.oracle.fake_cam import fake_cam
from tests.oracle.fills import gaussian_blur
from tests.oracle.score_cam import score_cam
from tests.support import networks
from tests.support.contracts import MEAN, STD
from tests.support.engines import client_over

WORDS = ("ad", "ai", "ag")


@pytest.fixture(scope="module")
def client(bundle_of: BundleOf) -> Iterator[Client]:
    with client_over(bundle_of("softmax"), bundle_of("sigmoid")) as made:
        yield made


def picture(channels: int = 3) -> NDArray[np.float32]:
    noise = np.random.default_rng(6).normal(size=(channels, 8, 8))
    return upsample(noise.astype(np.float32), 32, 32)


def colour(*intensity: float) -> torch.Tensor:
    """Normalised, [3, 32, 32]."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((torch.tensor(intensity)[:, None, None] - mean) / std).expand(3, 32, 32)


FILLS: dict[str, tuple[Fill, torch.Tensor]] = {
    "mean": ("mean", torch.zeros(3, 32, 32)),
    "black": ("black", colour(0, 0, 0)),
    "blur": (Blur(9, 3.0), gaussian_blur(torch.from_numpy(picture()), 9, 3.0).float()),
    "colour": (Colour((0.9, 0.1, 0.4)), colour(0.9, 0.1, 0.4)),
    "grey": (Colour((0.25,)), colour(0.25, 0.25, 0.25)),
}


@pytest.mark.parametrize("name", FILLS)
@torch.no_grad()
def test_score_cam_on_every_fill_equals_its_oracle(client: Client, name: str) -> None:
    fill, behind = FILLS[name]
    network, image = networks.residual_net(), torch.from_numpy(picture())
    features = network.features(image[None])[0]
    expected = score_cam(network, image, features, lambda y: y[3], behind)
    answer = client.explain(
        Preprocessed(picture()), model="softmax", methods="score-cam", targets=3, fill=fill,
        geometry="feature", scale="raw",
    )  # fmt: skip
    np.testing.assert_allclose(
        unit_range(answer.maps[0].array), unit_range(expected.numpy()), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(("kind", "name"), [*product(["softmax"], FILLS), ("sigmoid", "mean")])
@torch.no_grad()
def test_scores_equal_those_of_torch_on_the_image_masked_by_the_map_that_was_sent(
    client: Client, kind: str, name: str
) -> None:
    """The wire's own map is the mask: upsampled and min–maxed, it multiplies image − fill."""
    softmax = kind == "softmax"
    channels, probability = (3, softmax_probability) if softmax else (1, sigmoid_probability)
    fill, behind = FILLS[name][0], FILLS[name][1][:channels]
    image = torch.from_numpy(picture(channels))
    answer = client.explain(
        Preprocessed(picture(channels)), model=kind, methods=["score-cam", "fake-cam"], targets=1,
        fill=fill, scores=WORDS,
    )  # fmt: skip
    network = networks.residual_net(10 if softmax else 6, channels)
    for found in answer.maps:
        masked = behind + torch.tensor(found.array) * (image - behind)
        logits = network(torch.stack([image, masked])).numpy()
        expected = dict(zip(WORDS, faithfulness(*logits, 1, probability), strict=True))
        assert found.scores is not None
        assert {word: found.scores[word] for word in WORDS} == pytest.approx(expected, abs=2e-3)


def test_fake_cam_equals_its_oracle(client: Client) -> None:
    answer = client.explain(Preprocessed(picture()), model="softmax", methods="fake-cam")
    np.testing.assert_array_equal(answer.maps[0].array, np.array(fake_cam(32, 32), np.float32))


PICTURES = ("png-grey", "png-overlay", "png-masked")


@pytest.mark.parametrize("geometry", ["input", "original"])
@pytest.mark.parametrize("encoding", ["float32", "float16", *PICTURES])
def test_a_map_can_be_had_in_every_encoding(client: Client, encoding: str, geometry: str) -> None:
    file = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    plain, found = (
        client.explain(
            file.getvalue(), model="softmax", methods="score-cam", targets=3,
            encoding=each, geometry=geometry,
        ).maps[0]
        for each in ("float32", encoding)
    )  # fmt: skip
    size = (32, 32) if geometry == "input" else (20, 30)
    assert (found.height, found.width) == size
    if encoding in ("png-overlay", "png-masked"):
        assert (found.array.shape, found.array.dtype) == ((*size, 3), np.uint8)
        assert np.ptp(found.array) > 50
        return
    assert found.array.shape == size
    values = found.array.astype(np.float32) / (255 if encoding == "png-grey" else 1)
    step = {"float32": 0, "float16": 2**-11, "png-grey": 0.5 / 255 + 1e-6}[encoding]
    np.testing.assert_allclose(values, plain.array, rtol=0, atol=step)
