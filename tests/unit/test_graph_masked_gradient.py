"""The masked gradient graph: from logits back to the maps, against torch's own autograd."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from salience_export.graphs.flow import rename
from salience_export.graphs.gradient import build_gradient
from salience_export.graphs.masked import INPUTS, build_masked
from salience_export.graphs.masked_gradient import build_masked_gradient
from tests.oracle.masked_rows import masked_rows
from tests.support import masked_feeds
from tests.support.in_double import evaluate_in_double, in_double
from tests.support.masked_feeds import Feeds, each_its_own, random_maps
from tests.support.onnx_networks import Drawing, mobile_net, run

CLASSES, SIDE = 4, 32


def affine(opset: int = 17) -> tuple[onnx.ModelProto, Callable[[Tensor], Tensor]]:
    """logits = W x + b as a graph and in torch, float64: no kinks, so that only ours could err."""
    d = Drawing()
    logits = d.dense(d.op("Flatten", "images"), (3 * SIDE * SIDE, CLASSES), to="logits")
    weight, bias = (torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in d.weights)
    return d.model(logits, opset=opset), lambda x: x.flatten(1) @ weight.double() + bias.double()


def request(maps: NDArray[np.float32], requests: int = 2, **changes: NDArray[np.generic]) -> Feeds:
    """The masked graph's feeds, and a random cotangent."""
    cotangent = np.random.default_rng(6).normal(size=(len(maps), CLASSES)).astype(np.float32)
    return {**masked_feeds.request(maps, requests), "cotangent": cotangent, **changes}


def expected(network: Callable[[Tensor], Tensor], feeds: Feeds) -> tuple[Tensor, Tensor]:
    """Logits and d Σ (cotangent · logits) / d maps in float64, by torch and the oracle's rows."""
    given = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
    leaf = given["maps"].double().requires_grad_()
    rows = masked_rows(
        images=given["differences"].double() + given["fills"].double(),
        maps=leaf,
        **{name: given[name] for name in ("fills", "image_of", "normalise", "scale", "shift")},
    )
    logits = network(rows)
    (gradient,) = torch.autograd.grad((given["cotangent"].double() * logits).sum(), leaf)
    return logits.detach(), gradient


def check(feeds: Feeds, opset: int = 17) -> NDArray[np.float32]:
    """Holds the graph's answers in float64 and float32 against torch's; returns d_maps."""
    source, network = affine(opset)
    model = build_masked_gradient(source)
    wanted = [each.numpy() for each in expected(network, feeds)]
    exact = evaluate_in_double(in_double(model), **widened(feeds))
    found = run(model, **feeds)
    for answer, limit in ((exact, 1e-10), (found, 1e-5)):
        for name, values in zip(("logits", "d_maps"), wanted, strict=True):
            assert np.abs(answer[name] - values).max() <= limit * np.abs(values).max(), name
    return found["d_maps"]


def widened(feeds: Feeds) -> Feeds:
    """The feeds in float64, with interpolation as exact as torch's."""
    wide = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()}
    height, width = feeds["maps"].shape[1:]
    return {**wide, "rows": _interpolation(height), "columns": _interpolation(width)}


def _interpolation(size: int) -> NDArray[np.float64]:
    """What torch's own interpolation makes of unit vectors, [SIDE, size]."""
    units = torch.eye(size, dtype=torch.float64)[:, None]
    made = torch.nn.functional.interpolate(units, SIDE, mode="linear", align_corners=False)
    return made[:, 0].T.numpy()


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (7, 7), (32, 32), (48, 40)], ids=str)
def test_maps_of_any_size_get_torchs_gradient(size: tuple[int, int]) -> None:
    check(request(random_maps(5, *size)))


def test_operators_of_a_later_opset_give_the_same() -> None:
    check(request(random_maps(3, 4, 4)), opset=18)


def test_rows_choose_normalisation_scale_and_shift_each_for_itself() -> None:
    check(request(random_maps(6, 4, 4), requests=3, **each_its_own()))


def test_equal_extremes_share_what_goes_through_them_evenly() -> None:
    # At pixel size nothing is interpolated: many pixels are exactly the least and the greatest.
    maps = np.random.default_rng(4).integers(-1, 2, (4, SIDE, SIDE)).astype(np.float32)
    gradient = check(request(maps, normalise=np.array([True, True, False, True])))
    assert np.abs(gradient).min(axis=(1, 2)).min() > 0


def test_a_map_of_one_lonely_peak_is_pushed_back_through_it() -> None:
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 3, 4] = 1
    check(request(maps, requests=1))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e30, 1e-30])
def test_a_flat_map_gets_a_gradient_of_zeros_and_never_nan(value: float) -> None:
    maps = random_maps(3, 5, 7)
    maps[1] = value
    gradient = check(request(maps))
    np.testing.assert_array_equal(gradient[1], 0)
    assert np.abs(gradient[[0, 2]]).max() > 0


def test_a_flat_map_that_is_not_normalised_gets_its_gradient() -> None:
    gradient = check(request(np.full((2, 5, 7), 0.4, np.float32), normalise=np.zeros(2, bool)))
    assert np.abs(gradient).min() > 0


def test_the_gradient_of_a_normalised_map_ignores_its_level_and_sums_to_zero() -> None:
    feeds = request(np.random.default_rng(5).integers(0, 65, (3, 4, 4)).astype(np.float32) / 64)
    raised = {**feeds, "maps": feeds["maps"] + np.float32(100)}
    gradient = check(feeds)
    np.testing.assert_array_equal(check(raised), gradient)
    assert np.abs(gradient.sum(axis=(1, 2))).max() <= 1e-5 * np.abs(gradient).sum()


def test_a_whole_network_is_the_way_back_from_its_images_gradient() -> None:
    model = mobile_net(CLASSES)
    feeds = request(random_maps(4, 5, 6), scale=np.array([1, -1, 0.5, 1], np.float32))
    given = {name: torch.from_numpy(np.array(value)) for name, value in feeds.items()}
    leaf = given["maps"].double().requires_grad_()
    rows = masked_rows(
        images=given["differences"].double() + given["fills"].double(),
        maps=leaf,
        **{name: given[name] for name in ("fills", "image_of", "normalise", "scale", "shift")},
    )
    built = build_gradient(model, [], {})
    cotangent = feeds["cotangent"].astype(np.float64)
    to_rows = evaluate_in_double(
        in_double(built), images=rows.detach().numpy(), cotangent=cotangent
    )["d_images"]
    (wanted,) = torch.autograd.grad(rows, leaf, torch.from_numpy(to_rows))
    found = evaluate_in_double(in_double(build_masked_gradient(model)), **widened(feeds))["d_maps"]
    assert np.abs(found - wanted.numpy()).max() <= 1e-9 * wanted.abs().max().item()


def test_the_logits_are_those_of_the_masked_graph_to_the_bit() -> None:
    model, _ = affine()
    feeds = request(random_maps(5, 7, 7))
    found = run(build_masked_gradient(model), **feeds)["logits"]
    del feeds["cotangent"]
    np.testing.assert_array_equal(found, run(build_masked(model), **feeds)["logits"])


def test_a_source_that_uses_our_names_inside_is_served_too() -> None:
    model, _ = affine()
    feeds = request(random_maps(3, 4, 4))
    plain = run(build_masked_gradient(model), **feeds)
    inner = model.graph.node[0].output[0]
    for name in ("cotangent", "d_maps", "d_low/equals", "g", "maps"):
        clash = onnx.ModelProto()
        clash.CopyFrom(model)
        rename(clash.graph, {inner: name})
        found = run(build_masked_gradient(clash), **feeds)
        np.testing.assert_array_equal(found["d_maps"], plain["d_maps"])


def test_the_graph_is_valid_and_takes_exactly_the_agreed_inputs() -> None:
    model = build_masked_gradient(affine()[0])
    onnx.checker.check_model(model, full_check=True)
    assert {value.name for value in model.graph.input} == {*INPUTS, "cotangent"}
    assert [value.name for value in model.graph.output] == ["logits", "d_maps"]
