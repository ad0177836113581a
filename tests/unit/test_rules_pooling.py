"""The rules of pooling, beside torch: any windows, and ties as torch breaks them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, Draw, check, differentiated, normal, one, tied

IMAGES = ((None, 2, 11, 9),)

WINDOWS = {
    "ResNet's": {"kernel_size": 3, "stride": 2, "padding": 1},
    "VGG's": {"kernel_size": 2, "stride": 2},
    "SqueezeNet's": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "Inception's": {"kernel_size": 3, "stride": 1, "padding": 1},
    "one that drops the rest": {"kernel_size": 4, "stride": 3},
    "one with gaps": {"kernel_size": 2, "stride": 3},
    "one of a pixel": {"kernel_size": 1, "stride": 2},
    "one of rows": {"kernel_size": (1, 5), "stride": (1, 2), "padding": (0, 2)},
    "one of columns": {"kernel_size": (3, 1), "stride": (2, 1), "padding": (1, 0)},
    "one that reaches beyond": {
        "kernel_size": (3, 4), "stride": (2, 3), "padding": (1, 0), "ceil_mode": True,
    },
    "the whole image": {"kernel_size": (11, 9), "stride": 1},
}  # fmt: skip


def attributes(
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    ceil_mode: bool = False,
) -> dict[str, object]:
    """Torch's names as ONNX's."""
    kernel, strides, pads, dilations = (
        [each, each] if isinstance(each, int) else list(each)
        for each in (kernel_size, stride, padding, dilation)
    )
    stated = {"kernel_shape": kernel, "strides": strides, "pads": pads * 2}
    more = {"dilations": dilations} if max(dilations) > 1 else {}
    return {**stated, **more, "ceil_mode": int(ceil_mode)}


def random_windows(seed: int) -> dict[str, object]:
    """Windows that fit the images, drawn from the seed."""
    random = np.random.default_rng(seed)
    kernel = random.integers(1, 5, 2)
    ceil_mode = bool(random.integers(2))
    return {
        "kernel_size": tuple(kernel.tolist()),
        "stride": tuple(random.integers(1, kernel + 1 if ceil_mode else 4, 2).tolist()),
        "padding": (0, 0) if ceil_mode else tuple(random.integers(0, kernel // 2 + 1).tolist()),
        "ceil_mode": ceil_mode,
    }


ALL_WINDOWS = [*WINDOWS.values(), *(random_windows(seed) for seed in range(8))]


@pytest.mark.parametrize("draw", [normal, tied])
@pytest.mark.parametrize("windows", ALL_WINDOWS, ids=str)
def test_a_maximum_goes_back_to_the_first_entry_that_has_it(
    windows: dict[str, object], draw: Draw
) -> None:
    nodes = one("MaxPool", "a", **attributes(**windows))
    check(Case(nodes, lambda x: F.max_pool2d(x, **windows), IMAGES, draw=draw))


@pytest.mark.parametrize("seed", range(4))
def test_maxima_of_dilated_windows_go_back_as_in_torch(seed: int) -> None:
    windows = random_windows(seed) | {"dilation": (2, 1 + seed % 3), "ceil_mode": False}
    nodes = one("MaxPool", "a", **attributes(**windows))
    check(Case(nodes, lambda x: F.max_pool2d(x, **windows), IMAGES, draw=tied))


def test_of_all_equal_numbers_the_first_is_the_maximum() -> None:
    nodes = one("MaxPool", "a", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    twin = lambda x: F.max_pool2d(x, 3, 2, 1)  # noqa: E731
    check(Case(nodes, twin, IMAGES, draw=lambda _, sizes: np.zeros(sizes)))


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("windows", ALL_WINDOWS, ids=str)
def test_a_mean_goes_back_to_all_its_entries(windows: dict[str, object], counted: int) -> None:
    nodes = one("AveragePool", "a", count_include_pad=counted, **attributes(**windows))
    twin = lambda x: F.avg_pool2d(x, **windows, count_include_pad=bool(counted))  # noqa: E731
    check(Case(nodes, twin, IMAGES))


def same(x: Tensor, kernel: tuple[int, int], stride: int, upper: bool, value: float) -> Tensor:
    """Padded so that there are as many windows as strides begin in the image."""
    ends: list[int] = []
    for size, width in zip(x.shape[:1:-1], kernel[::-1], strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + width - size)
        halves = [total // 2, total - total // 2]
        ends += halves if upper else halves[::-1]
    return F.pad(x, ends, value=value)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_pads_that_the_operator_chooses_are_those_it_goes_back_by(operator: str, mode: str) -> None:
    kernel, stride = (4, 3), 2

    def twin(x: Tensor) -> Tensor:
        padded = lambda value, t: (  # noqa: E731
            t if mode == "VALID" else same(t, kernel, stride, mode == "SAME_UPPER", value)
        )
        if operator == "MaxPool":
            return F.max_pool2d(padded(-torch.inf, x), kernel, stride)
        inside = F.avg_pool2d(padded(0.0, torch.ones_like(x)), kernel, stride)
        return F.avg_pool2d(padded(0.0, x), kernel, stride) / inside

    nodes = one(operator, "a", kernel_shape=kernel, strides=[stride] * 2, auto_pad=mode)
    check(Case(nodes, twin, IMAGES))


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("sizes", [(None, 2, 10), (None, 2, 5, 6, 7)], ids=str)
def test_any_number_of_axes_is_pooled(operator: str, sizes: tuple[int | None, ...]) -> None:
    axes = len(sizes) - 2
    pool = {
        ("MaxPool", 1): F.max_pool1d, ("MaxPool", 3): F.max_pool3d,
        ("AveragePool", 1): F.avg_pool1d, ("AveragePool", 3): F.avg_pool3d,
    }[operator, axes]  # fmt: skip
    nodes = one(operator, "a", kernel_shape=[3] * axes, strides=[2] * axes)
    check(Case(nodes, lambda x: pool(x, 3, 2), (sizes,)))


def test_the_mean_of_an_image_goes_back_to_all_pixels() -> None:
    twin = lambda x: x.mean((2, 3), keepdim=True)  # noqa: E731
    check(Case(one("GlobalAveragePool", "a"), twin, IMAGES))


@pytest.mark.parametrize("draw", [normal, tied])
def test_the_maximum_of_an_image_goes_back_to_the_first_pixel_that_has_it(draw: Draw) -> None:
    twin = lambda x: F.max_pool2d(x, (11, 9))  # noqa: E731
    check(Case(one("GlobalMaxPool", "a"), twin, IMAGES, draw=draw))


def test_where_the_maximum_lay_may_be_written_but_goes_nowhere() -> None:
    nodes = [helper.make_node("MaxPool", ["a"], ["y", "where"], kernel_shape=[2, 2])]
    check(Case(nodes, lambda x: F.max_pool2d(x, 2, 1), IMAGES))


def test_windows_over_images_are_refused() -> None:
    nodes = [
        helper.make_node("Transpose", ["a"], ["turned"], perm=[1, 2, 0, 3]),
        helper.make_node("AveragePool", ["turned"], ["y"], kernel_shape=[1, 2]),
    ]
    with pytest.raises(NoRule, match="operator AveragePool with windows along images"):
        differentiated(Case(nodes, lambda x: x, IMAGES))


def test_windows_that_begin_behind_the_image_are_refused_where_shapes_count_them() -> None:
    windows = attributes(kernel_size=(3, 4), stride=(3, 4), padding=(1, 2), ceil_mode=True)
    case = Case(one("MaxPool", "a", **windows), lambda x: x, IMAGES, opset=17)
    with pytest.raises(NoRule, match="operator MaxPool with windows that begin behind the image"):
        differentiated(case)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_windows_that_begin_behind_the_image_are_none_in_later_opsets(operator: str) -> None:
    more = {"count_include_pad": False} if operator == "AveragePool" else {}
    pool = F.max_pool2d if operator == "MaxPool" else F.avg_pool2d
    twin = lambda x: pool(x, (3, 4), (3, 4), (1, 2), ceil_mode=True, **more)  # noqa: E731
    windows = attributes(kernel_size=(3, 4), stride=(3, 4), padding=(1, 2), ceil_mode=True)
    check(Case(one(operator, "a", **windows), twin, IMAGES, opset=22))
