"""Taps of tokens: which shapes are a grid, and tails that go on from them."""

import numpy as np
import onnx
import pytest

from salience_export.errors import ExportError
from salience_export.graphs.build import build_graphs
from salience_export.graphs.taps import tap_of
from salience_export.graphs.tokens import Grid, grid_of
from salience_service.bundle.manifest import TokenLayout
from tests.support.onnx_networks import Drawing, images, run


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (196, (224, 224), Grid(TokenLayout.TOKENS, 14, 14)),
        (197, (224, 224), Grid(TokenLayout.CLASS_AND_TOKENS, 14, 14)),
        (24, (64, 96), Grid(TokenLayout.TOKENS, 4, 6)),
        (25, (64, 96), Grid(TokenLayout.CLASS_AND_TOKENS, 4, 6)),
        (198, (224, 224), None),
        (195, (224, 224), None),
        (1, (224, 224), None),
    ],
)
def test_tokens_are_a_grid_where_square_patches_cut_the_image_into_as_many(
    tokens: int, size: tuple[int, int], grid: Grid | None
) -> None:
    assert grid_of(tokens, *size) == grid


def patches(patch: int = 8, channels: int = 5) -> onnx.ModelProto:
    """Tokens [N, T, 5] of 32×32 images, weighed, and their mean's three scores."""
    drawing, side = Drawing(), 32 // patch
    kernel = drawing.weight(
        "kernel", drawing.random.normal(size=(channels, 3, patch, patch)).astype(np.float32)
    )
    cut = drawing.op("Conv", "images", kernel, strides=[patch] * 2)
    flat = drawing.op("Reshape", cut, drawing.ints(0, channels, side * side))
    tokens = drawing.op("Relu", drawing.op("Transpose", flat, perm=[0, 2, 1]), to="tokens")
    drawing.op("Identity", flat, to="across")
    mean = drawing.op("ReduceMean", tokens, axes=[1], keepdims=0)
    drawing.dense(mean, (channels, 3), to="logits")
    return drawing.model("logits")


def test_a_tap_of_tokens_states_its_grid() -> None:
    tap = tap_of(patches(), "tokens")
    assert (tap.channels, tap.height, tap.width, tap.layout) == (5, 4, 4, TokenLayout.TOKENS)


def test_a_tensor_whose_tokens_are_no_grid_is_refused_by_shape() -> None:
    with pytest.raises(ExportError, match=r"'across' has shape \['N', 6, 16\]: a tap is"):
        tap_of(patches(channels=6), "across")


def test_the_tail_of_tokens_weighs_each_channel_of_all_tokens() -> None:
    built = build_graphs(patches(), [tap_of(patches(), "tokens")])
    tokens = run(built.forward, images=images(2))["tap_0"]
    kept = np.random.default_rng(0).uniform(0, 2, (3, 5)).astype(np.float32)
    image_of = np.array([1, 0, 1])
    found = run(built.tails[0], tap=tokens, image_of=image_of, keep=kept)["logits"]
    weighed = tokens[image_of] * kept[:, None]
    whole = np.ones_like(kept)
    expected = run(built.tails[0], tap=weighed, image_of=np.arange(3), keep=whole)["logits"]
    clean = run(built.forward, images=images(2))["logits"][image_of]
    assert np.abs(expected - clean).max() > 0.1, "the weights change nothing"
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_mean_of_tokens_and_one_layer_is_a_linear_head() -> None:
    assert build_graphs(patches(), [tap_of(patches(), "tokens")]).linear_heads == (True,)
