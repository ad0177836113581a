"""The rules of reductions, beside torch: any axes, kept or not, in both forms of the opsets."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, differentiated, normal, one, positive, tied

IMAGES = ((None, 3, 4, 5),)
AXES_AS_INPUT = 18

REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


def reduction(
    operator: str, axes: Sequence[int], keep: bool, opset: int
) -> tuple[list, dict[str, np.ndarray]]:
    """The node with its axes where its opset takes them, and its weights."""
    if opset >= AXES_AS_INPUT or operator == "ReduceSum":
        weights = {"axes": np.array(axes, np.int64)}
        return one(operator, "a", "axes", keepdims=int(keep)), weights
    return one(operator, "a", axes=axes, keepdims=int(keep)), {}


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(("axes", "keep"), [((2, 3), False), ((-1, 1), True), ((-2,), False)])
@pytest.mark.parametrize("operator", REDUCTIONS)
def test_a_reduction_goes_back_as_in_torch(
    operator: str, axes: tuple[int, ...], keep: bool, opset: int
) -> None:
    nodes, weights = reduction(operator, axes, keep, opset)
    twin = lambda x: REDUCTIONS[operator](x, list(axes), keep)  # noqa: E731
    draw = positive if operator == "ReduceLogSum" else normal
    check(Case(nodes, twin, IMAGES, weights, draw, opset))


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin", "ReduceL1"])
def test_equal_numbers_share_as_in_torch(operator: str) -> None:
    nodes, weights = reduction(operator, (1, 3), False, 20)
    twin = lambda x: REDUCTIONS[operator](x, [1, 3], False)  # noqa: E731
    check(Case(nodes, twin, IMAGES, weights, tied, 20))


def test_the_length_of_no_vector_has_no_slope() -> None:
    nodes, weights = reduction("ReduceL2", (1,), True, 17)
    twin = lambda x: torch.linalg.vector_norm(x, 2, 1, True)  # noqa: E731
    check(Case(nodes, twin, IMAGES, weights, lambda _, sizes: np.zeros(sizes)))


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMax"])
def test_all_axes_are_reduced_where_none_is_named(operator: str) -> None:
    twin = lambda x: REDUCTIONS[operator](x, [0, 1, 2, 3], False)  # noqa: E731
    check(Case(one(operator, "a", keepdims=0), twin, IMAGES))


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax"])
def test_nothing_is_reduced_where_the_node_says_so(operator: str) -> None:
    nodes = one(operator, "a", noop_with_empty_axes=1)
    check(Case(nodes, lambda x: x * 1, IMAGES, opset=20))


def test_a_norm_over_no_axes_is_refused() -> None:
    case = Case(one("ReduceL2", "a", noop_with_empty_axes=1), lambda x: x, IMAGES, opset=20)
    with pytest.raises(NoRule, match="operator ReduceL2 with no axes"):
        differentiated(case)


def test_a_mean_over_images_is_refused() -> None:
    with pytest.raises(NoRule, match="operator ReduceMean with a mean over images"):
        differentiated(Case(one("ReduceMean", "a"), lambda x: x, IMAGES))


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums_go_back_from_the_other_end(exclusive: int, reverse: int) -> None:
    def twin(x: Tensor) -> Tensor:
        turned = x.flip(2) if reverse else x
        sums = turned.cumsum(2) - (turned if exclusive else 0)
        return sums.flip(2) if reverse else sums

    nodes = one("CumSum", "a", "axis", exclusive=exclusive, reverse=reverse)
    check(Case(nodes, twin, IMAGES, {"axis": np.array(2)}))
