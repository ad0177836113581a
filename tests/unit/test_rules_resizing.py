"""The rule of Resize, beside torch and beside ONNX Runtime's own way there."""

from collections.abc import Callable

import numpy as np
import pytest
import torch.nn.functional as F
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, check_in_single, differentiated, one
from tests.support.onnx_networks import run

IMAGES = ((None, 2, 6, 5),)

LINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
NEAREST = {
    "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
}  # fmt: skip
CORNERS = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
CUBIC = {
    "mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75,
}  # fmt: skip

BY_SCALE: dict[str, tuple[dict[str, object], Callable[[Tensor], Tensor]]] = {
    "nearest": (NEAREST, lambda x: F.interpolate(x, scale_factor=2)),
    "linear": (LINEAR, lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "cubic": (CUBIC, lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
}
BY_SIZE: dict[str, tuple[dict[str, object], Callable[[Tensor], Tensor]]] = {
    "nearest": (NEAREST, lambda x: F.interpolate(x, (9, 4))),
    "linear": (LINEAR, lambda x: F.interpolate(x, (9, 4), mode="bilinear")),
    "corners": (CORNERS, lambda x: F.interpolate(x, (9, 4), mode="bilinear", align_corners=True)),
}


@pytest.mark.parametrize("name", BY_SCALE)
def test_a_larger_image_goes_back_as_in_torch(name: str) -> None:
    attributes, twin = BY_SCALE[name]
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    check(Case(one("Resize", "a", "", "scales", **attributes), twin, IMAGES, scales))


@pytest.mark.parametrize("name", BY_SIZE)
def test_an_image_of_another_size_goes_back_as_in_torch(name: str) -> None:
    attributes, twin = BY_SIZE[name]
    sizes = {"sizes": np.array([9, 4])}
    nodes = one("Resize", "a", "", "", "sizes", axes=[2, 3], **attributes)
    check_in_single(Case(nodes, twin, IMAGES, sizes, opset=18))  # its matrix is ONNX Runtime's


ON_ENTRIES: dict[str, tuple[dict[str, object], int, int]] = {
    "linear 10 to 14": (LINEAR, 10, 14),
    "linear 31 to 17": (LINEAR, 31, 17),
    "cubic 10 to 14": (CUBIC, 10, 14),
    "antialias 10 to 14": (LINEAR | {"antialias": 1}, 10, 14),
    "nearest 14 to 16": (NEAREST, 14, 16),
    "cubic 5 to 1": (CUBIC | {"coordinate_transformation_mode": "pytorch_half_pixel"}, 5, 1),
}


@pytest.mark.parametrize("name", ON_ENTRIES)
def test_a_sample_within_rounding_of_an_entry_goes_back_as_it_came(name: str) -> None:
    attributes, size, count = ON_ENTRIES[name]
    nodes = one("Resize", "a", "", "", "sizes", axes=[3], **attributes)
    sizes = {"sizes": np.array([count])}
    model = differentiated(Case(nodes, lambda a: a, ((None, 1, 1, size),), sizes, opset=18))
    entries, cotangents = np.eye(size, dtype=np.float32), np.eye(count, dtype=np.float32)
    there = run(model, x=entries, dy=np.zeros((size, 1, 1, count), np.float32))["y"]
    back = run(model, x=np.zeros((count, size), np.float32), dy=cotangents[:, None, None])["d_a"]
    np.testing.assert_allclose(back[:, 0, 0], there[:, 0, 0].T, atol=1e-6)


def test_a_size_that_inference_tells_otherwise_than_onnx_runtime_is_refused() -> None:
    scales = {"scales": np.array([5 / 3], np.float32)}  # of 3: 5, of which inference makes 4
    nodes = one("Resize", "a", "", "scales", axes=[3], **LINEAR)
    case = Case(nodes, lambda a: a, ((None, 1, 1, 3),), scales, opset=18)
    with pytest.raises(NoRule, match="a size that ONNX Runtime and shape inference tell"):
        differentiated(case)


def test_scales_of_named_axes_go_back_as_in_torch() -> None:
    nodes = one("Resize", "a", "", "scales", axes=[3], **NEAREST)
    twin = lambda x: x.repeat_interleave(3, 3)  # noqa: E731
    check(Case(nodes, twin, IMAGES, {"scales": np.array([3], np.float32)}, opset=18))


def test_an_image_of_its_own_size_passes_on() -> None:
    scales = {"scales": np.ones(4, np.float32)}
    check(Case(one("Resize", "a", "", "scales", **LINEAR), lambda x: x * 1, IMAGES, scales))


REFUSED = {
    "tf_crop_and_resize": (
        ("a", "roi", "scales"), {"coordinate_transformation_mode": "tf_crop_and_resize"},
    ),
    "a kept aspect ratio": (
        ("a", "", "", "sizes"), {"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_map_along_each_axis_is_refused(name: str) -> None:
    inputs, attributes = REFUSED[name]
    weights = {
        "roi": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "sizes": np.array([12, 12]),
    }
    case = Case(
        one("Resize", *inputs, mode="linear", **attributes), lambda x: x, IMAGES, weights, opset=18
    )
    with pytest.raises(NoRule, match=f"operator Resize with {name}"):
        differentiated(case)
