"""The rules of products, beside torch: turned matrices, vectors, batches that are broadcast."""

import numpy as np
import pytest
import torch
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, differentiated, one


@pytest.mark.parametrize("turned_left", [0, 1])
@pytest.mark.parametrize("turned_right", [0, 1])
@pytest.mark.parametrize("bias", [(5,), (4, 1), ()], ids=str)
def test_a_scaled_product_goes_back_as_in_torch(
    turned_left: int, turned_right: int, bias: tuple[int, ...]
) -> None:
    alpha, beta = float(np.float32(0.7)), float(np.float32(1.3))

    def twin(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return alpha * (a.T if turned_left else a) @ (b.T if turned_right else b) + beta * c

    nodes = one(
        "Gemm", "a", "b", "c", transA=turned_left, transB=turned_right, alpha=alpha, beta=beta
    )
    sizes = ((3, 4) if turned_left else (4, 3), (5, 3) if turned_right else (3, 5), bias)
    check(Case(nodes, twin, sizes))


def test_a_linear_layer_goes_back_as_in_torch() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    bias = np.ones(5, np.float32)
    own = torch.from_numpy(weight.astype(np.float64))
    nodes = one("Gemm", "a", "w", "bias", transB=1)
    check(Case(nodes, lambda x: x @ own.T + 1, ((None, 3),), {"w": weight, "bias": bias}))


@pytest.mark.parametrize(
    "sizes",
    [
        ((None, 3, 4), (None, 4, 5)),
        ((None, 2, 3, 4), (None, 2, 4, 5)),
        ((None, 2, 3, 4), (4, 5)),
        ((3, 4), (None, 4, 5)),
        ((None, 1, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (None, 1, 4, 5)),
        ((None, 3, 4), (4,)),
        ((4,), (None, 4, 5)),
        ((4,), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (None, 2, 4, 1)),
    ],
    ids=str,
)
def test_a_product_of_matrices_goes_back_as_in_torch(
    sizes: tuple[tuple[int | None, ...], ...],
) -> None:
    check(Case(one("MatMul", "a", "b"), torch.matmul, sizes))


def test_a_product_with_a_constant_goes_back_to_the_other() -> None:
    constant = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    own = torch.from_numpy(constant.astype(np.float64))
    weights = {"w": constant}
    check(Case(one("MatMul", "a", "w"), lambda x: x @ own, ((None, 2, 3, 4),), weights))
    check(Case(one("MatMul", "w", "a"), lambda x: own @ x, ((None, 2, 5, 3),), weights))


@pytest.mark.parametrize(
    ("equation", "sizes"),
    [
        ("nchw,dc->ndhw", ((None, 3, 2, 2), (5, 3))),
        ("bhqd, bhkd -> bhqk", ((None, 2, 3, 4), (None, 2, 5, 4))),
        ("ni,nj", ((None, 3), (None, 4))),
        ("ni,ij,nj->n", ((None, 3), (3, 4), (None, 4))),
        ("nij->nji", ((None, 3, 4),)),
    ],
)
def test_a_sum_over_indices_goes_back_as_in_torch(
    equation: str, sizes: tuple[tuple[int | None, ...], ...]
) -> None:
    twin = lambda *each: torch.einsum(equation, *each)  # noqa: E731
    check(Case(one("Einsum", *"abc"[: len(sizes)], equation=equation), twin, sizes))


@pytest.mark.parametrize("equation", ["nij->ni", "nii->n", "...i->..."])
def test_a_sum_over_indices_of_other_forms_is_refused(equation: str) -> None:
    case = Case(one("Einsum", "a", equation=equation), lambda x: x, ((None, 3, 3),))
    with pytest.raises(NoRule, match="operator Einsum with"):
        differentiated(case)
