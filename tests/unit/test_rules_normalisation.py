"""The rules of normalisations, beside torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from salience_export.differentiate.step import NoRule
from tests.support.differentiated import Case, check, check_in_double, differentiated, one

IMAGES = ((None, 6, 5, 4),)


def drawn(name: str, *sizes: int) -> np.ndarray:
    """Numbers that float32 holds, other ones for every name."""
    random = np.random.default_rng([ord(letter) for letter in name])
    return random.uniform(0.5, 1.5, sizes).astype(np.float32)


def double(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float64))


@pytest.mark.parametrize("sizes", [(None, 6, 5, 4), (None, 6)], ids=str)
def test_learnt_statistics_go_back_as_in_torch(sizes: tuple[int | None, ...]) -> None:
    names = ("scale", "shift", "mean", "variance")
    weights = {name: drawn(name, 6) for name in names}
    scale, shift, mean, variance = (double(weights[name]) for name in names)
    eps = float(np.float32(1e-3))
    check(
        Case(
            one("BatchNormalization", "a", *names, epsilon=1e-3),
            lambda x: F.batch_norm(x, mean, variance, scale, shift, False, 0, eps),
            (sizes,),
            weights,
        )
    )


def test_statistics_of_the_batch_at_hand_are_refused() -> None:
    weights = {name: drawn(name, 6) for name in ("scale", "shift", "mean", "variance")}
    nodes = one("BatchNormalization", "a", *weights, training_mode=1)
    nodes[0].output.extend(["mean_after", "variance_after"])
    with pytest.raises(NoRule, match="BatchNormalization with statistics of the batch at hand"):
        differentiated(Case(nodes, lambda x: x, IMAGES, weights))


@pytest.mark.parametrize("axis", [-1, 3, 2, 1])
def test_layers_standardised_go_back_as_in_torch(axis: int) -> None:
    sizes = (6, 5, 4)[axis - 1 if axis > 0 else axis :]
    weights = {"scale": drawn("scale", *sizes), "shift": drawn("shift", *sizes)}
    scale, shift = (double(value) for value in weights.values())
    eps = float(np.float32(1e-6))
    check(
        Case(
            one("LayerNormalization", "a", "scale", "shift", axis=axis, epsilon=1e-6),
            lambda x: F.layer_norm(x, sizes, scale, shift, eps),
            IMAGES,
            weights,
        )
    )


def test_layers_without_a_shift_go_back_as_in_torch() -> None:
    weights = {"scale": drawn("scale", 4)}
    eps, scale = float(np.float32(1e-5)), double(weights["scale"])
    twin = lambda x: F.layer_norm(x, (4,), scale, None, eps)  # noqa: E731
    check(Case(one("LayerNormalization", "a", "scale"), twin, IMAGES, weights, opset=18))


def test_channels_standardised_go_back_as_in_torch() -> None:
    weights = {"scale": drawn("scale", 6), "shift": drawn("shift", 6)}
    scale, shift = (double(value) for value in weights.values())
    eps = float(np.float32(1e-5))
    twin = lambda x: F.instance_norm(x, None, None, scale, shift, eps=eps)  # noqa: E731
    check(Case(one("InstanceNormalization", "a", "scale", "shift"), twin, IMAGES, weights))


def test_groups_standardised_go_back_as_in_torch() -> None:
    weights = {"scale": drawn("scale", 6), "shift": drawn("shift", 6)}
    scale, shift = (double(value) for value in weights.values())
    eps = float(np.float32(1e-5))
    nodes = one("GroupNormalization", "a", "scale", "shift", num_groups=3)
    twin = lambda x: F.group_norm(x, 3, scale, shift, eps)  # noqa: E731
    check(Case(nodes, twin, IMAGES, weights, opset=21))


def test_a_scale_for_each_group_is_refused() -> None:
    weights = {"scale": drawn("scale", 3), "shift": drawn("shift", 3)}
    nodes = one("GroupNormalization", "a", "scale", "shift", num_groups=3)
    with pytest.raises(NoRule, match="operator GroupNormalization with a scale for each group"):
        differentiated(Case(nodes, lambda x: x, IMAGES, weights, opset=18))


def test_a_computed_scale_is_refused() -> None:
    case = Case(one("LayerNormalization", "a", "b"), lambda a, b: a * b, ((None, 4), (4,)))
    with pytest.raises(NoRule, match="LayerNormalization with a scale or shift that depends"):
        differentiated(case)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [1, -1])
def test_vectors_of_length_1_go_back_as_in_torch(p: int, axis: int) -> None:
    twin = lambda x: F.normalize(x, p, axis)  # noqa: E731
    check(Case(one("LpNormalization", "a", p=p, axis=axis), twin, IMAGES))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_responses_of_neighbours_go_back_as_in_the_definition(size: int) -> None:
    alpha, beta, bias = (float(np.float32(value)) for value in (0.3, 0.6, 1.2))

    def twin(x: Tensor) -> Tensor:
        before, after = (size - 1) // 2, -(-(size - 1) // 2)
        squares = F.pad(x * x, (0, 0, 0, 0, before, after)).unfold(1, size, 1).sum(-1)
        return x / (bias + alpha / size * squares) ** beta

    case = Case(one("LRN", "a", size=size, alpha=alpha, beta=beta, bias=bias), twin, IMAGES)
    runs_everywhere = size % 2 == 1
    (check if runs_everywhere else check_in_double)(case)
