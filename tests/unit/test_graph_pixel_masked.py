"""The pixel-masked graph: rows of images composed with masks of their own size."""

import numpy as np
import onnx
import pytest

from salience_export.graphs.flow import rename
from salience_export.graphs.masked import build_masked
from salience_export.graphs.pixel_masked import build_pixel_masked
from salience_service.interpolation import interpolation_matrix, unit_range, upsample
from tests.support.onnx_networks import evaluate, images, mobile_net, run


def feeds(masks: np.ndarray, image_of: list[int]) -> dict[str, np.ndarray]:
    pixels, fills = images(2), images(2, seed=9) * np.float32(0.3)
    return {
        "differences": pixels - fills,
        "fills": fills,
        "image_of": np.array(image_of),
        "masks": masks,
    }


def random_masks(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.5, 1.5, (count, 32, 32)).astype(np.float32)


def test_rows_are_the_fill_and_the_masked_difference_of_their_image() -> None:
    given = feeds(random_masks(3), [1, 0, 1])
    rows = given["fills"][given["image_of"]]
    rows = rows + given["masks"][:, None] * given["differences"][given["image_of"]]
    wanted = evaluate(mobile_net(), rows, "logits")[0]
    found = run(build_pixel_masked(mobile_net()), **given)["logits"]
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_an_image_named_once_is_laid_under_every_row_with_the_same_bits() -> None:
    model, given = build_pixel_masked(mobile_net()), feeds(random_masks(3), [1, 1, 1])
    once = given | {"image_of": np.array([1])}
    np.testing.assert_array_equal(run(model, **once)["logits"], run(model, **given)["logits"])


def test_masks_made_outside_give_what_the_masked_graph_makes_of_maps() -> None:
    maps = np.random.default_rng(4).normal(size=(2, 5, 7)).astype(np.float32)
    given = feeds(unit_range(upsample(maps, 32, 32)), [0, 1])
    del given["masks"]
    masked = run(
        build_masked(mobile_net()),
        **given,
        maps=maps,
        rows=interpolation_matrix(32, 5),
        columns=interpolation_matrix(32, 7),
        normalise=np.ones(2, bool),
        scale=np.ones(2, np.float32),
        shift=np.zeros(2, np.float32),
    )["logits"]
    masks = unit_range(upsample(maps, 32, 32))
    found = run(build_pixel_masked(mobile_net()), **given, masks=masks)["logits"]
    assert np.abs(found - masked).max() <= 1e-5 * np.abs(masked).max()


@pytest.mark.parametrize("name", ["masks", "mask_", "differences", "channel_axis"])
def test_a_source_may_use_any_of_the_graphs_own_names(name: str) -> None:
    model = mobile_net()
    rename(model.graph, {"block1": name})
    given = feeds(random_masks(2), [0, 1])
    built = build_pixel_masked(model)
    onnx.checker.check_model(built, full_check=True)
    expected = run(build_pixel_masked(mobile_net()), **given)["logits"]
    np.testing.assert_allclose(run(built, **given)["logits"], expected, rtol=1e-6)
