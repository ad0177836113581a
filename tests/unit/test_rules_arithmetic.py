"""The rules of arithmetic, beside torch: broadcasting, shared inputs, ties, flat functions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import helper
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import (
    Case,
    check,
    differentiated,
    normal,
    one,
    positive,
    tied,
)

BROADCAST = [
    ((None, 3, 4, 5), (None, 3, 4, 5)),
    ((None, 3, 4, 5), (None, 3, 1, 1)),
    ((None, 1, 4, 1), (None, 3, 1, 5)),
    ((None, 3, 4, 5), (3, 1, 1)),
    ((None, 3, 4, 5), (1, 3, 1, 5)),
    ((5,), (None, 3, 4, 5)),
    ((None, 3, 4, 5), ()),
]

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Max": torch.maximum,
    "Min": torch.minimum,
}


@pytest.mark.parametrize("sizes", BROADCAST, ids=str)
@pytest.mark.parametrize("operator", BINARY)
def test_a_pair_goes_back_as_in_torch_however_it_is_broadcast(
    operator: str, sizes: tuple[tuple[int | None, ...], ...]
) -> None:
    draw = positive if operator == "Div" else normal
    check(Case(one(operator, "a", "b"), BINARY[operator], sizes, draw=draw))


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_equal_numbers_share_a_maximum(operator: str) -> None:
    sizes = ((None, 3, 4), (None, 3, 1))
    check(Case(one(operator, "a", "b"), BINARY[operator], sizes, draw=tied))


def evenly(*tensors: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*tensors)).amax(0)


SEVERAL = {
    "Sum": lambda a, b, c: a + b + c,
    "Mean": lambda a, b, c: (a + b + c) / 3,
    "Max": evenly,
    "Min": lambda *each: -evenly(*(-one for one in each)),
}


@pytest.mark.parametrize("operator", SEVERAL)
def test_several_tensors_go_back_as_in_torch(operator: str) -> None:
    sizes = ((None, 3, 4), (3, 1), (None, 1, 4))
    check(Case(one(operator, "a", "b", "c"), SEVERAL[operator], sizes, draw=tied))


@pytest.mark.parametrize("operator", ["Sum", "Mean", "Max", "Min"])
def test_a_single_tensor_comes_through_as_it_is(operator: str) -> None:
    check(Case(one(operator, "a"), lambda a: a * 1, ((None, 3),)))


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Sqrt": torch.sqrt,
}


@pytest.mark.parametrize("operator", UNARY)
def test_a_function_of_one_number_goes_back_as_in_torch(operator: str) -> None:
    draw = positive if operator in ("Log", "Reciprocal", "Sqrt") else normal
    check(Case(one(operator, "a"), UNARY[operator], ((None, 3, 4),), draw=draw))


def test_the_slope_of_a_distance_is_0_at_0() -> None:
    check(Case(one("Abs", "a"), torch.abs, ((None, 3, 7),), draw=tied))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 0.5, -1.5])
def test_a_power_goes_back_as_in_torch(exponent: float) -> None:
    power = {"p": np.array(exponent, np.float32)}
    draw = tied if exponent in (0, 1, 2, 3) else positive
    sizes = ((None, 3, 4),)
    check(Case(one("Pow", "a", "p"), lambda x: x**exponent, sizes, power, draw))


def test_powers_are_broadcast_and_may_be_whole_numbers() -> None:
    powers = np.array([0, 1, 2, 3])[:, None]
    check(
        Case(
            one("Pow", "a", "p"),
            lambda x: x ** torch.from_numpy(powers),
            ((None, 1, 5),),
            {"p": powers},
            tied,
        )
    )


def test_a_power_that_is_asked_for_is_refused() -> None:
    case = Case(one("Pow", "a", "b"), torch.pow, ((None, 3), (None, 3)))
    with pytest.raises(NoRule, match="operator Pow with an exponent that depends"):
        differentiated(case)


def test_a_choice_goes_back_to_what_was_chosen() -> None:
    condition = np.array([[True], [False], [True]])
    check(
        Case(
            one("Where", "condition", "a", "b"),
            lambda a, b: torch.where(torch.from_numpy(condition), a, b),
            ((None, 3, 4), (4,)),
            {"condition": condition},
        )
    )


def test_a_choice_by_a_computed_condition_goes_back_to_what_was_chosen() -> None:
    nodes = [
        helper.make_node("Greater", ["a", "b"], ["condition"]),
        helper.make_node("Where", ["condition", "a", "b"], ["y"]),
    ]
    check(Case(nodes, lambda a, b: torch.where(a > b, a, b), ((None, 3, 4), (None, 1, 4))))


@pytest.mark.parametrize("operator", ["Mul", "Add", "Max"])
def test_a_tensor_used_twice_by_one_node_gets_both_parts(operator: str) -> None:
    twin = BINARY[operator]
    check(Case(one(operator, "a", "a"), lambda a: twin(a, a), ((None, 3, 4),)))


FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "Sign": torch.sign,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
}


@pytest.mark.parametrize("operator", FLAT)
def test_nothing_flows_back_through_a_flat_function(operator: str) -> None:
    nodes = [
        helper.make_node(operator, ["a"], ["flat"]),
        helper.make_node("Mul", ["a", "flat"], ["y"]),
    ]
    model = differentiated(Case(nodes, lambda a: a, ((None, 3, 4),)))
    assert [node.op_type for node in model.graph.node[-2:]] == ["Mul", "Identity"]
    check(Case(nodes, lambda a: a * FLAT[operator](a).detach(), ((None, 3, 4),)))


def test_nothing_flows_back_through_comparisons() -> None:
    nodes = [
        helper.make_node("GreaterOrEqual", ["a", "b"], ["more"]),
        helper.make_node("Less", ["a", "limit"], ["less"]),
        helper.make_node("And", ["more", "less"], ["inside"]),
        helper.make_node("Not", ["inside"], ["outside"]),
        helper.make_node("Cast", ["outside"], ["mask"], to=1),
        helper.make_node("Mul", ["mask", "a"], ["y0"]),
        helper.make_node("Add", ["y0", "b"], ["y"]),
    ]

    def twin(a: Tensor, b: Tensor) -> Tensor:
        return ~((a >= b) & (a < 1)) * a + b

    limit = {"limit": np.array(1, np.float32)}
    check(Case(nodes, twin, ((None, 3, 4), (None, 3, 4)), limit))
