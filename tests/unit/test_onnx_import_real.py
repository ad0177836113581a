"""The real ONNX files: imported, equal to what their files compute, masked rows included."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from salience_export.graphs.build import BuiltGraphs, build_graphs
from salience_export.source import SourceModel
from salience_export.sources.onnx_file import open_onnx
from salience_service.bundle.manifest import ColourOrder, InputContract, OutputKind
from salience_service.interpolation import interpolation_matrix
from tests.oracle.masked_rows import masked_rows
from tests.support.contracts import contract
from tests.support.onnx_networks import run

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models"

CONTRACTS = {
    "efficientnet_lite0": replace(contract(), white=255, mean=(127,) * 3, std=(128,) * 3),
    "mobilenet_v2": replace(contract(), mean=(0.5,) * 3, std=(0.5,) * 3),
    "squeezenet1.1": replace(
        contract(order=ColourOrder.BGR), white=255, mean=(104, 117, 123), std=(1,) * 3
    ),
}

TAPS = {
    "efficientnet_lite0": {
        "/_blocks.0/_project_conv/Conv_output_0": (16, 112, 112),
        "/_blocks.2/Add_output_0": (24, 56, 56),
        "/_blocks.4/Add_output_0": (40, 28, 28),
        "/_blocks.10/Add_output_0": (112, 14, 14),
        "/_blocks.15/_project_conv/Conv_output_0": (320, 7, 7),
        "/_swish_1/Clip_output_0": (1280, 7, 7),
    },
    "mobilenet_v2": {
        "conv2": (16, 112, 112),
        "add10": (24, 56, 56),
        "add21": (32, 28, 28),
        "add47": (96, 14, 14),
        "conv50": (320, 7, 7),
        "conv51.relu6": (1280, 7, 7),
    },
    "squeezenet1.1": {
        "conv1_2": (64, 111, 111),
        "fire3/concat_1": (128, 55, 55),
        "fire5/concat_1": (256, 27, 27),
        "fire9/concat_1": (512, 13, 13),
    },
}

Opened = tuple[str, SourceModel, BuiltGraphs]


@pytest.fixture(scope="module", params=sorted(CONTRACTS))
def opened(request: pytest.FixtureRequest) -> Opened:
    """Name, source and graphs of one real file."""
    path = MODELS / f"{request.param}.onnx"
    if not path.exists():
        pytest.skip(f"shared data is absent: no {path.name} in ../shared/data/models")
    source = open_onnx(path, CONTRACTS[request.param], OutputKind.SOFTMAX)
    return request.param, source, build_graphs(source.model, source.taps)


def pictures(taken: InputContract, count: int) -> NDArray[np.float32]:
    """Prepared images [count, 3, 224, 224]: blocks of random colour."""
    blocks = np.random.default_rng(11).uniform(0, 1, (3, count, 14, 14))
    return taken.normalise(blocks.repeat(16, 2).repeat(16, 3)).swapaxes(0, 1).copy()


def from_file(name: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the file itself puts out, image by image, as [N, K]."""
    session = ort.InferenceSession(MODELS / f"{name}.onnx")
    (taken,) = session.get_inputs()
    rows = [session.run(None, {taken.name: image[None]})[0] for image in images]
    return np.concatenate([row.reshape(1, -1) for row in rows])


def close(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    return bool(np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max())


def as_file(name: str, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Our logits as the file would put them out: SqueezeNet's ends in a softmax."""
    if name != "squeezenet1.1":
        return logits
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_the_chosen_taps_are_the_blocks_of_each_resolution(opened: Opened) -> None:
    name, source, _ = opened
    found = {tap.name: (tap.channels, tap.height, tap.width) for tap in source.taps}
    assert list(found.items()) == list(TAPS[name].items())


def test_logits_and_features_equal_the_file(opened: Opened) -> None:
    name, source, built = opened
    batch = pictures(CONTRACTS[name], 3)
    found = run(built.forward, images=batch)
    assert close(as_file(name, found["logits"]), from_file(name, batch))
    reference = source.reference(batch)
    assert close(found["logits"], reference.logits)
    assert len(reference.features) == len(source.taps)
    for tap, output in zip(source.taps, built.outputs, strict=True):
        assert close(found[output], reference.features[tap.name])


def test_masked_rows_equal_the_file_on_the_oracles_rows(opened: Opened) -> None:
    name, source, built = opened
    images = pictures(CONTRACTS[name], 2)
    tap = source.taps[-1]
    features = source.reference(images).features[tap.name]
    strongest = np.argsort(features[0].max(axis=(1, 2)))[-4:]
    given = {
        "image_of": np.array([0, 1, 0, 1]),
        "maps": features[0, strongest],
        "normalise": np.array([True, True, True, False]),
        "scale": np.array([1, 1, -1, 0.1], np.float32),
        "shift": np.array([0, 0, 1, 0.2], np.float32),
    }
    fills = np.full_like(images, 0.1)
    found = run(
        built.masked,
        differences=images - fills,
        fills=fills,
        rows=interpolation_matrix(224, tap.height),
        columns=interpolation_matrix(224, tap.width),
        **given,
    )
    tensors = {key: torch.from_numpy(value) for key, value in given.items()}
    rows = masked_rows(torch.from_numpy(images), torch.from_numpy(fills), **tensors)
    assert close(as_file(name, found["logits"]), from_file(name, rows.float().numpy()))


def test_tails_with_all_channels_kept_equal_the_forward_logits(opened: Opened) -> None:
    name, source, built = opened
    clean = run(built.forward, images=pictures(CONTRACTS[name], 2))
    for tap, tail, output, live in zip(
        source.taps, built.tails, built.outputs, built.live, strict=True
    ):
        found = run(
            tail,
            tap=clean[output],
            **{each: clean[each] for each in live},
            image_of=np.array([1, 0, 1]),
            keep=np.ones((3, tap.channels), np.float32),
        )
        assert close(found["logits"], clean["logits"][[1, 0, 1]])


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_old_graphs_of_the_onnx_wheel_come_through_whole(name: str) -> None:
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    source = open_onnx(light / f"light_{name}.onnx", contract(), OutputKind.SOFTMAX)
    assert "the batch, fixed to 1, was made free" in source.changes
    assert "opset 9 was raised to 17" in source.changes
    built = build_graphs(source.model, source.taps)
    batch = pictures(contract(), 2)
    assert close(run(built.forward, images=batch)["logits"], source.reference(batch).logits)
