"""The rules of what only rearranges numbers, beside torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, differentiated, one

IMAGES = ((None, 3, 4, 6),)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


RESHAPED = {
    "Reshape": ("Reshape", {}, ints(0, 12, -1), lambda x: x.reshape(-1, 12, 6)),
    "Reshape that joins images": ("Reshape", {}, ints(-1, 6), lambda x: x.reshape(-1, 6)),
    "Flatten": ("Flatten", {"axis": 1}, None, lambda x: x.flatten(1)),
    "Flatten at 2": ("Flatten", {"axis": 2}, None, lambda x: x.reshape(-1, 24)),
    "Unsqueeze": ("Unsqueeze", {}, ints(1, -1), lambda x: x[:, None, ..., None]),
}


@pytest.mark.parametrize("name", RESHAPED)
def test_another_shape_goes_back_to_the_first(name: str) -> None:
    operator, attributes, shape, twin = RESHAPED[name]
    weights = {} if shape is None else {"shape": shape}
    check(Case(one(operator, "a", *weights, **attributes), twin, IMAGES, weights))


def test_an_axis_dropped_comes_back() -> None:
    check(
        Case(
            one("Squeeze", "a", "axes"), lambda x: x[:, :, 0], ((None, 3, 1, 5),), {"axes": ints(2)}
        )
    )


@pytest.mark.parametrize("turn", [(0, 2, 3, 1), (3, 0, 2, 1), None])
def test_axes_go_back_to_their_places(turn: tuple[int, ...] | None) -> None:
    attributes = {} if turn is None else {"perm": turn}
    order = turn or (3, 2, 1, 0)
    check(Case(one("Transpose", "a", **attributes), lambda x: x.permute(order), IMAGES))


def test_windows_of_an_image_go_back_as_in_swin() -> None:
    nodes = [
        helper.make_node("Reshape", ["a", "apart"], ["six"]),
        helper.make_node("Transpose", ["six"], ["turned"], perm=[0, 1, 3, 2, 4, 5]),
        helper.make_node("Reshape", ["turned", "windows"], ["y"]),
    ]
    weights = {"apart": ints(-1, 2, 2, 3, 2, 3), "windows": ints(-1, 4, 3)}

    def twin(x: Tensor) -> Tensor:
        return x.reshape(-1, 2, 2, 3, 2, 3).transpose(2, 3).reshape(-1, 4, 3)

    check(Case(nodes, twin, ((None, 4, 6, 3),), weights))


@pytest.mark.parametrize("axis", [1, -1])
def test_tensors_joined_get_their_parts(axis: int) -> None:
    sizes = ((None, 3, 4, 2), (None, 3, 4, 2), (None, 3, 4, 2))
    twin = lambda *each: torch.cat([*each, each[0]], axis)  # noqa: E731
    check(Case(one("Concat", "a", "b", "c", "a", axis=axis), twin, sizes))


def test_a_tensor_joined_to_constants_gets_its_part_alone() -> None:
    constant = np.ones((2, 3), np.float32)
    nodes = [helper.make_node("Concat", ["constant", "a", "constant"], ["y"], axis=0)]
    other = torch.from_numpy(constant).double()
    check(Case(nodes, lambda x: torch.cat([other, x, other]), ((4, 3),), {"constant": constant}))


def test_images_joined_one_after_another_are_refused() -> None:
    case = Case(one("Concat", "a", "a", axis=0), lambda x: x, IMAGES)
    with pytest.raises(NoRule, match="operator Concat with images one after another"):
        differentiated(case)


@pytest.mark.parametrize("used", [(0, 1, 2), (0,), (1,), (2, 0)])
def test_parts_go_back_to_the_whole_whether_used_or_not(used: tuple[int, ...]) -> None:
    nodes = [
        helper.make_node("Split", ["a", "lengths_"], ["p0", "p1", "p2"], axis=1),
        helper.make_node("Concat", [f"p{part}" for part in used], ["y"], axis=1),
    ]

    def twin(x: Tensor) -> Tensor:
        parts = x.split([1, 4, 2], 1)
        return torch.cat([parts[part] for part in used], 1)

    check(Case(nodes, twin, ((None, 7, 3),), {"lengths_": ints(1, 4, 2)}))


def test_equal_parts_go_back_as_later_opsets_write_them() -> None:
    nodes = [
        helper.make_node("Split", ["a"], ["p0", "p1"], axis=-1, num_outputs=2),
        helper.make_node("Mul", ["p0", "p1"], ["y"]),
    ]
    check(Case(nodes, lambda x: x.chunk(2, -1)[0] * x.chunk(2, -1)[1], IMAGES, opset=20))


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [((None, 3, 1), (1, 3, 5)), ((1, 3, 4), (2, 1, 3, 1)), ((3, 1), (2, 3, 4))],
)
def test_copies_of_a_tensor_are_summed(
    sizes: tuple[int | None, ...], shape: tuple[int, ...]
) -> None:
    twin = lambda x: x * torch.ones(shape, dtype=x.dtype)  # noqa: E731
    check(Case(one("Expand", "a", "shape"), twin, (sizes,), {"shape": ints(*shape)}))


@pytest.mark.parametrize("repeats", [(1, 2, 1, 3), (2, 1, 1, 1), (1, 1, 1, 1)])
def test_a_tensor_laid_out_several_times_is_summed(repeats: tuple[int, ...]) -> None:
    twin = lambda x: x.tile(repeats)  # noqa: E731
    check(Case(one("Tile", "a", "repeats"), twin, IMAGES, {"repeats": ints(*repeats)}))


def test_channels_come_back_from_blocks_of_pixels() -> None:
    def by_depth(x: Tensor) -> Tensor:  # ONNX's DCR: the place in the block is the outer index
        n, c, h, w = x.shape
        apart = x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)
        return apart.reshape(n, c // 4, 2 * h, 2 * w)

    sizes = ((None, 12, 3, 2),)
    check(Case(one("DepthToSpace", "a", blocksize=2), by_depth, sizes))
    shuffled = one("DepthToSpace", "a", blocksize=2, mode="CRD")
    check(Case(shuffled, lambda x: F.pixel_shuffle(x, 2), sizes))


def test_blocks_of_pixels_come_back_from_channels() -> None:
    def by_space(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        apart = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
        return apart.reshape(n, 4 * c, h // 2, w // 2)

    check(Case(one("SpaceToDepth", "a", blocksize=2), by_space, ((None, 3, 4, 6),)))


@pytest.mark.parametrize("upper", [0, 1])
def test_a_triangle_goes_back_to_itself(upper: int) -> None:
    twin = lambda x: x.triu(1) if upper else x.tril(1)  # noqa: E731
    diagonal = {"diagonal": np.array(1, np.int64)}
    check(Case(one("Trilu", "a", "diagonal", upper=upper), twin, IMAGES, diagonal))


def test_what_does_nothing_in_inference_passes_on() -> None:
    nodes = [
        helper.make_node("Identity", ["a"], ["same"]),
        helper.make_node("Dropout", ["same", "ratio"], ["y", "mask"]),
    ]
    check(Case(nodes, lambda x: x * 1, IMAGES, {"ratio": np.array(0.5, np.float32)}))


def test_dropout_in_training_mode_is_refused() -> None:
    weights = {"ratio": np.array(0.5, np.float32), "training": np.array(True)}
    case = Case(one("Dropout", "a", "ratio", "training"), lambda x: x, IMAGES, weights)
    with pytest.raises(NoRule, match="operator Dropout with training mode"):
        differentiated(case)


def test_another_precision_goes_back_to_the_first() -> None:
    nodes = [
        helper.make_node("Cast", ["a"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["wide", "wide"], ["square"]),
        helper.make_node("Cast", ["square"], ["y"], to=TensorProto.FLOAT),
    ]
    check(Case(nodes, lambda x: x * x, IMAGES))


def test_nothing_flows_back_through_whole_numbers() -> None:
    nodes = [
        helper.make_node("Cast", ["a"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Cast", ["whole"], ["rounded"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["a", "rounded"], ["y"]),
    ]
    check(Case(nodes, lambda x: x * x.detach().trunc(), IMAGES))
