"""The rules of what picks entries along axes, beside torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, differentiated, one

IMAGES = ((None, 3, 7, 6),)
FAR = 2**63 - 1


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


SLICES = {
    "one axis": ([1], [4], [2], [1]),
    "the front": ([0], [2], [3], [1]),
    "the back": ([-3], [FAR], [-1], [1]),
    "two axes": ([1, 2], [6, 5], [2, 3], [1, 1]),
    "every second": ([0], [FAR], [2], [2]),
    "every second of the rest": ([1, 1], [FAR, FAR], [2, 3], [2, 2]),
    "every third": ([2], [7], [2], [3]),
    "backwards": ([-1], [-FAR], [3], [-1]),
    "backwards by twos": ([5], [0], [2], [-2]),
    "every image": ([0, 1], [FAR, 2], [0, 1], [1, 1]),
}


@pytest.mark.parametrize("name", SLICES)
def test_a_range_goes_back_to_its_place(name: str) -> None:
    starts, stops, axes, steps = SLICES[name]

    def twin(x: Tensor) -> Tensor:
        for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
            positions = np.arange(x.shape[axis])[start:stop:step].copy()
            x = x.index_select(axis, torch.from_numpy(positions))
        return x

    weights = {"s": ints(*starts), "e": ints(*stops), "x_": ints(*axes), "t": ints(*steps)}
    check(Case(one("Slice", "a", "s", "e", "x_", "t"), twin, IMAGES, weights))


def test_a_range_without_axes_counts_them_from_the_first() -> None:
    weights = {"s": ints(0, 1), "e": ints(FAR, 3)}
    check(Case(one("Slice", "a", "s", "e"), lambda x: x[:, 1:3], IMAGES, weights))


def test_a_roll_goes_back_as_in_swin() -> None:
    nodes = [
        helper.make_node("Slice", ["a", "two", "far", "axis"], ["rest"]),
        helper.make_node("Slice", ["a", "zero", "two", "axis"], ["first"]),
        helper.make_node("Concat", ["rest", "first"], ["y"], axis=2),
    ]
    weights = {"zero": ints(0), "two": ints(2), "far": ints(FAR), "axis": ints(2)}
    check(Case(nodes, lambda x: x.roll(-2, 2), IMAGES, weights))


@pytest.mark.parametrize("case", ["one image", "a computed start"])
def test_a_range_that_is_not_known_is_refused(case: str) -> None:
    weights = {"s": ints(0), "e": ints(1), "x_": ints(0 if case == "one image" else 1)}
    nodes = one("Slice", "a", "s", "e", "x_")
    if case == "a computed start":
        nodes = [helper.make_node("Shape", ["a"], ["s"], end=1), *nodes]
        del weights["s"]
    with pytest.raises(NoRule, match="operator Slice with"):
        differentiated(Case(nodes, lambda x: x, IMAGES, weights))


INDICES = {
    "one": np.array(2),
    "the last": np.array(-1),
    "some": ints(4, 0, 5),
    "all, turned about": ints(6, 5, 4, 3, 2, 1, 0),
    "some twice": ints(1, 1, -6, 0),
    "a table": np.array([[0, 3], [3, 6]]),
}


@pytest.mark.parametrize("name", INDICES)
def test_entries_that_were_picked_go_back_and_twins_add_up(name: str) -> None:
    indices = INDICES[name]
    picked = torch.from_numpy(np.asarray(indices % 7))
    check(
        Case(
            one("Gather", "a", "i", axis=2),
            lambda x: x[:, :, picked],
            IMAGES,
            {"i": np.asarray(indices, np.int64)},
        )
    )


def test_entries_picked_by_computed_indices_are_refused() -> None:
    nodes = [
        helper.make_node("ArgMax", ["a"], ["i"], axis=1, keepdims=0),
        helper.make_node("Gather", ["a", "i"], ["y"], axis=1),
    ]
    with pytest.raises(NoRule, match="operator Gather with input 1 that is no constant"):
        differentiated(Case(nodes, lambda x: x, ((None, 3),)))


def test_nothing_flows_back_through_indices() -> None:
    nodes = [
        helper.make_node("ArgMax", ["a"], ["i"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "i"], ["bonus"]),
        helper.make_node("Add", ["a", "bonus"], ["y"]),
    ]
    table = np.arange(4, dtype=np.float32).reshape(2, 2)

    def twin(x: Tensor) -> Tensor:
        return x + torch.from_numpy(table).double()[x.argmax(1)]

    check(Case(nodes, twin, ((None, 2, 2),), {"table": table}))


@pytest.mark.parametrize(
    "indices", [[[2], [0]], [[1, 0], [1, 0], [-1, 3]], [[[0, 1]], [[2, 6]]]], ids=str
)
def test_entries_picked_by_several_indices_go_back(indices: list[list[int]]) -> None:
    table = np.array(indices)
    columns = tuple(torch.from_numpy(table[..., i]) for i in range(table.shape[-1]))
    nodes = [
        helper.make_node("Transpose", ["a"], ["turned"], perm=[1, 2, 0, 3]),
        helper.make_node("GatherND", ["turned", "i"], ["y"]),
    ]
    check(Case(nodes, lambda x: x.permute(1, 2, 0, 3)[columns], IMAGES, {"i": table}))


def test_entries_picked_image_by_image_are_refused() -> None:
    case = Case(
        one("GatherND", "a", "i", batch_dims=1), lambda x: x, ((2, 3),), {"i": ints(1, 0)[:, None]}
    )
    with pytest.raises(NoRule, match="operator GatherND with batch_dims"):
        differentiated(case)


def test_one_entry_for_each_place_goes_back_and_twins_add_up() -> None:
    nodes = [
        helper.make_node("ArgMax", ["a"], ["best"], axis=1, keepdims=1),
        helper.make_node("Concat", ["best", "best"], ["i"], axis=1),
        helper.make_node("GatherElements", ["a", "i"], ["y"], axis=1),
    ]
    check(Case(nodes, lambda x: x.amax(1, keepdim=True).repeat(1, 2, 1), ((None, 3, 4),)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("ends", [(1, 2, 3, 0), (2, 2, 2, 2), (0, 0, 1, 1)], ids=str)
def test_what_was_added_around_goes_back_to_what_it_came_from(
    mode: str, ends: tuple[int, ...]
) -> None:
    top, left, bottom, right = ends
    torch_mode = {"edge": "replicate"}.get(mode, mode)
    check(
        Case(
            one("Pad", "a", "pads", mode=mode),
            lambda x: F.pad(x, (left, right, top, bottom), torch_mode),
            IMAGES,
            {"pads": ints(0, 0, top, left, 0, 0, bottom, right)},
        )
    )


def test_negative_pads_cut() -> None:
    weights = {"pads": ints(0, 0, -2, 1, 0, 0, 3, -1), "value": np.array(7, np.float32)}
    check(
        Case(
            one("Pad", "a", "pads", "value"),
            lambda x: F.pad(x, (1, -1, -2, 3), value=7.0),
            IMAGES,
            weights,
        )
    )


def test_pads_of_named_axes_go_back_and_may_wrap_around() -> None:
    weights = {"pads": ints(2, 1, 1, 3), "axes": ints(-1, 2)}
    check(
        Case(
            one("Pad", "a", "pads", "", "axes", mode="wrap"),
            lambda x: F.pad(x, (2, 1, 1, 3), "circular"),
            IMAGES,
            weights,
            opset=19,
        )
    )
