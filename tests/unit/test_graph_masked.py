"""The masked graph: rows of images composed with small maps."""

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from salience_export.graphs.flow import rename
from salience_export.graphs.masked import INPUTS, build_masked
from tests.oracle.masked_rows import masked_rows
from tests.support.masked_feeds import Feeds, each_its_own, random_maps, request
from tests.support.onnx_networks import evaluate, images, mobile_net, run


def expected(model: onnx.ModelProto, feeds: Feeds) -> NDArray[np.float32]:
    """Logits of the source on the oracle's rows."""
    given = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
    names = ("image_of", "maps", "normalise", "scale", "shift")
    rows = masked_rows(
        images=given["differences"] + given["fills"],
        fills=given["fills"],
        **{name: given[name] for name in names},
    )
    return evaluate(model, rows.float().numpy(), "logits")[0]


def check(feeds: Feeds) -> None:
    model = mobile_net()
    found = run(build_masked(model), **feeds)["logits"]
    wanted = expected(model, feeds)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 2), (3, 5), (7, 7), (8, 8), (32, 32), (48, 40)], ids=str
)
def test_maps_of_any_size_give_the_oracles_logits(size: tuple[int, int]) -> None:
    check(request(random_maps(5, *size)))


def test_rows_choose_normalisation_scale_and_shift_each_for_itself() -> None:
    check(request(random_maps(6, 4, 4), requests=3, **each_its_own()))


def test_a_small_range_far_from_zero_is_normalised_without_loss() -> None:
    # 100 + [0, 1/64]: exact in float32, so that only our arithmetic could lose digits.
    steps = np.random.default_rng(5).integers(0, 65, (3, 4, 4)) / 4096
    check(request((100 + steps).astype(np.float32)))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e30, 1e-30])
def test_a_flat_map_gives_zeros_and_never_nan(value: float) -> None:
    feeds = request(np.full((2, 5, 7), value, np.float32))
    found = run(build_masked(mobile_net()), **feeds)["logits"]
    wanted = evaluate(mobile_net(), np.asarray(feeds["fills"]), "logits")[0]
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("value", [100.0, -1e30])
def test_a_map_that_varies_less_than_rounding_counts_as_flat(value: float) -> None:
    maps = np.full((2, 4, 4), value, np.float32)
    maps[:, 1, 2] = np.nextafter(np.float32(value), np.float32(np.inf))
    check(request(maps))


def test_a_flat_map_inverted_shows_the_image() -> None:
    feeds = request(
        np.full((2, 5, 7), 0.4, np.float32),
        scale=np.array([-1, -1], np.float32),
        shift=np.array([1, 1], np.float32),
    )
    found = run(build_masked(mobile_net()), **feeds)["logits"]
    wanted = evaluate(mobile_net(), images(), "logits")[0]
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_a_rows_bits_depend_neither_on_its_place_nor_on_its_neighbours() -> None:
    session_model = build_masked(mobile_net())
    feeds = request(random_maps(8, 7, 7), requests=3)
    alone = run(session_model, **feeds)["logits"]
    order = np.random.default_rng(1).permutation(8)
    per_row = ("maps", "image_of", "normalise", "scale", "shift")
    moved = run(session_model, **{k: v[order] if k in per_row else v for k, v in feeds.items()})
    np.testing.assert_array_equal(moved["logits"], alone[order])

    others = dict(feeds)
    others["maps"] = random_maps(8, 7, 7)[::-1] * 50
    others["maps"][3] = feeds["maps"][3]
    others["normalise"] = np.arange(8) == 3
    others["fills"] = np.concatenate([feeds["fills"][:1], 9 * feeds["fills"][1:]])
    others["image_of"] = np.array([1, 2, 1, 0, 2, 1, 2, 1])
    same = run(session_model, **others)["logits"]
    np.testing.assert_array_equal(same[3], alone[3])
    assert not np.array_equal(same[4], alone[4])


def test_an_image_named_once_is_laid_under_every_row_with_the_same_bits() -> None:
    model = build_masked(mobile_net())
    given = request(random_maps(5, 7, 7), requests=2, image_of=np.ones(5, np.int64))
    once = given | {"image_of": np.array([1])}
    np.testing.assert_array_equal(run(model, **once)["logits"], run(model, **given)["logits"])


def test_a_source_that_uses_our_names_inside_is_served_too() -> None:
    model = mobile_net()
    clash = {"stem": "maps", "block0": "scale", "block1": "up", "block2": "mask"}
    rename(model.graph, clash)
    feeds = request(random_maps(3, 4, 4))
    found = run(build_masked(model), **feeds)["logits"]
    np.testing.assert_array_equal(found, run(build_masked(mobile_net()), **feeds)["logits"])


def test_the_graph_is_valid_and_takes_exactly_the_agreed_inputs() -> None:
    model = build_masked(mobile_net())
    onnx.checker.check_model(model, full_check=True)
    assert {value.name for value in model.graph.input} == set(INPUTS)
    assert [value.name for value in model.graph.output] == ["logits"]
