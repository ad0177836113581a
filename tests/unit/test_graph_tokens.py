"""Taps of tokens: which shapes are a grid, and tails that go on from them."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from salience_export.errors import ExportError
from salience_export.graphs.build import build_graphs
from salience_export.graphs.flow import Flow
from salience_export.graphs.taps import choose_taps, tap_of
from salience_export.graphs.tokens import Grid, grid_of, is_attended
from salience_service.bundle.manifest import TokenLayout
from tests.support.onnx_networks import Drawing, images, normed, run, transformer


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


@pytest.mark.parametrize(
    ("class_tokens", "tap"),
    [(0, ("norm", TokenLayout.TOKENS)), (1, ("attended_1", TokenLayout.CLASS_AND_TOKENS))],
)
def test_the_last_normed_sum_whose_patches_reach_the_logits_is_chosen(
    class_tokens: int, tap: tuple[str, TokenLayout]
) -> None:
    taps = choose_taps(transformer(class_tokens), 3)
    assert [(tap.name, tap.layout) for tap in taps] == [("patches", TokenLayout.SPATIAL), tap]
    assert (taps[1].channels, taps[1].height, taps[1].width) == (6, 4, 4)


def test_a_sum_that_no_operator_normalises_is_chosen_itself() -> None:
    model = transformer(1)
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            node.op_type, node.input[:] = "Sigmoid", node.input[:1]
    assert [tap.name for tap in choose_taps(model, 3)] == ["patches", "block_0"]


@pytest.mark.parametrize(("class_tokens", "blocks"), [(2, 2), (1, 1)])
def test_attention_over_patches_of_which_no_tokens_can_be_chosen_asks_for_taps(
    class_tokens: int, blocks: int
) -> None:
    with pytest.raises(ExportError, match=r"behind the attention: .*; --tap patches takes the"):
        choose_taps(transformer(class_tokens, blocks), 3)


def test_attention_that_only_pools_leaves_the_last_map_chosen() -> None:
    d = Drawing()
    x = d.op("Relu", d.conv("images", (3, 6), stride=8), to="map")
    x = d.op("Transpose", d.op("Reshape", x, d.ints(0, 6, 16)), perm=[0, 2, 1])
    mean = d.op("ReduceMean", x, axes=[1], keepdims=1)
    scores = d.op("Softmax", d.op("MatMul", mean, d.op("Transpose", x, perm=[0, 2, 1])))
    d.dense(d.op("Flatten", d.op("MatMul", scores, x)), (6, 3), to="logits")
    assert [tap.name for tap in choose_taps(d.model("logits"), 3)] == ["map"]


def test_where_no_tokens_can_be_chosen_a_map_of_several_layers_is() -> None:
    taps = choose_taps(transformer(2, stem=1), 3)
    assert [tap.name for tap in taps] == ["stem_0", "patches"]


def decoded(queries: int) -> onnx.ModelProto:
    """Queries that attend to the pixels of a map, 4×4, and the mean of what they become."""
    d = Drawing()
    x = d.op("Relu", d.conv(d.op("Relu", d.conv("images", (3, 6), stride=4)), (6, 6), stride=2))
    x = d.op("Transpose", d.op("Reshape", x, d.ints(0, 6, 16)), perm=[0, 2, 1])
    asked = d.weight("asked", d.random.normal(size=(queries, 6)).astype(np.float32))
    scores = d.op("Softmax", d.op("MatMul", asked, d.op("Transpose", x, perm=[0, 2, 1])))
    x = d.op("MatMul", scores, x)
    x = d.op("Add", x, d.op("Relu", normed(d, x)), to="answers")
    d.dense(d.op("ReduceMean", x, axes=[1], keepdims=0), (6, 3), to="logits")
    return d.model("logits")


@pytest.mark.parametrize("queries", [16, 64, 4, 7])
def test_queries_to_a_map_are_no_patches_and_leave_the_map_chosen(queries: int) -> None:
    taps = choose_taps(decoded(queries), 3)
    assert [(tap.channels, tap.height) for tap in taps] == [(6, 8), (6, 4)]


def attended(d: Drawing, x: str, to: str, perm: Sequence[int] = (0, 1, 2)) -> str:
    """A block whose tokens lie [N, T, C] once they are permuted."""
    y = d.op("Transpose", x, perm=perm)
    scores = d.op("Softmax", d.op("MatMul", y, d.op("Transpose", y, perm=[0, 2, 1])))
    return d.op("Add", x, d.op("Transpose", d.op("MatMul", scores, y), perm=perm), to=to)


def cut(d: Drawing) -> str:
    """Patches [N, 6, 16] of 32×32 images."""
    kernel = d.weight("kernel", d.random.normal(size=(6, 3, 8, 8)).astype(np.float32))
    return d.op(
        "Reshape", d.op("Conv", "images", kernel, strides=[8, 8], to="patches"), d.ints(0, 6, 16)
    )


def test_tokens_of_merged_patches_are_chosen() -> None:
    d = Drawing()
    x = attended(d, d.op("Transpose", cut(d), perm=[0, 2, 1]), "whole")
    weights = d.weight("weights", d.random.normal(size=(24, 6)).astype(np.float32))
    x = attended(d, d.op("MatMul", d.op("Reshape", x, d.ints(0, 4, 24)), weights), "merged")
    d.dense(d.op("ReduceMean", x, axes=[1], keepdims=0), (6, 3), to="logits")
    assert [tap.name for tap in choose_taps(d.model("logits"), 3)] == ["patches", "merged"]


def test_of_tokens_that_lie_before_the_batch_the_projection_is_chosen() -> None:
    d = Drawing()
    x = attended(d, d.op("Transpose", cut(d), perm=[2, 0, 1]), "sums", perm=(1, 0, 2))
    d.dense(d.op("ReduceMean", x, axes=[0], keepdims=0), (6, 3), to="logits")
    assert [tap.name for tap in choose_taps(d.model("logits"), 3)] == ["patches"]


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("MatMul", {}), ("Einsum", {"equation": "nchw,nchv->nwv"}), ("Attention", {})],
)
def test_attention_is_a_product_of_what_is_made_from_one_tensor(
    operator: str, attributes: dict[str, str]
) -> None:
    d = Drawing()
    d.op(operator, d.op("Relu", "images"), d.op("Neg", "images"), to="product", **attributes)
    d.op(operator, d.op("Relu", "product"), d.ints(1), to="logits", **attributes)
    flow = Flow(d.model("logits", opset=23))
    assert [is_attended(flow, name) for name in ("images", "product")] == [True, False]
