"""The rules of activations, beside torch: at random places, and at their kinks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.differentiated import Case, Draw, check, normal, one, tied

IMAGES = ((None, 3, 5, 4),)


def single(value: float) -> float:
    """The float32 that an attribute holds."""
    return float(np.float32(value))


SMOOTH: dict[str, tuple[str, dict[str, object], Callable[[Tensor], Tensor]]] = {
    "Sigmoid": ("Sigmoid", {}, torch.sigmoid),
    "Tanh": ("Tanh", {}, torch.tanh),
    "Softplus": ("Softplus", {}, lambda x: (1 + x.exp()).log()),
    "Softsign": ("Softsign", {}, F.softsign),
    "HardSigmoid": (
        "HardSigmoid",
        {"alpha": 1 / 6, "beta": 0.5},
        lambda x: F.hardtanh(single(1 / 6) * x + 0.5, 0, 1),
    ),
    "HardSigmoid as it comes": (
        "HardSigmoid", {}, lambda x: F.hardtanh(single(0.2) * x + 0.5, 0, 1),
    ),
    "HardSwish": ("HardSwish", {}, F.hardswish),
    "LeakyRelu": ("LeakyRelu", {"alpha": 0.3}, lambda x: F.leaky_relu(x, single(0.3))),
    "LeakyRelu as it comes": ("LeakyRelu", {}, lambda x: F.leaky_relu(x, single(0.01))),
    "LeakyRelu steep": ("LeakyRelu", {"alpha": 1.5}, lambda x: F.leaky_relu(x, 1.5)),
    "LeakyRelu folded": ("LeakyRelu", {"alpha": -0.5}, lambda x: torch.where(x > 0, x, -0.5 * x)),
    "Elu": ("Elu", {}, F.elu),
    "Elu scaled": ("Elu", {"alpha": 0.7}, lambda x: F.elu(x, single(0.7))),
    "Selu": (
        "Selu", {},
        lambda x: single(1.05070102214813232421875) * F.elu(x, single(1.67326319217681884765625)),
    ),
    "Celu": ("Celu", {"alpha": 0.7}, lambda x: F.celu(x, single(0.7))),
    "ThresholdedRelu": ("ThresholdedRelu", {"alpha": 1.0}, lambda x: F.threshold(x, 1, 0)),
    "ThresholdedRelu below 0": (
        "ThresholdedRelu", {"alpha": -1.0}, lambda x: F.threshold(x, -1, 0),
    ),
    "Softmax": ("Softmax", {"axis": 1}, lambda x: x.softmax(1)),
    "Softmax of the last axis": ("Softmax", {}, lambda x: x.softmax(-1)),
    "LogSoftmax": ("LogSoftmax", {"axis": -2}, lambda x: x.log_softmax(-2)),
}  # fmt: skip


@pytest.mark.parametrize("draw", [normal, tied])
@pytest.mark.parametrize("name", SMOOTH)
def test_an_activation_goes_back_as_in_torch(name: str, draw: Draw) -> None:
    operator, attributes, twin = SMOOTH[name]
    check(Case(one(operator, "a", **attributes), twin, IMAGES, draw=draw))


NEWER = {
    "Gelu": ("Gelu", {}, F.gelu),
    "Gelu by tanh": (
        "Gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh"),
    ),
    "Mish": ("Mish", {}, F.mish),
    "Swish": ("Swish", {}, F.silu),
    "Swish scaled": ("Swish", {"alpha": 1.5}, lambda x: x * (1.5 * x).sigmoid()),
}  # fmt: skip


@pytest.mark.parametrize("name", NEWER)
def test_an_activation_of_a_later_opset_goes_back_as_in_torch(name: str) -> None:
    operator, attributes, twin = NEWER[name]
    check(Case(one(operator, "a", **attributes), twin, IMAGES, opset=24))


@pytest.mark.parametrize("draw", [normal, tied])
def test_a_learnt_slope_goes_back_as_in_torch(draw: Draw) -> None:
    slope = np.random.default_rng(0).normal(size=(3, 1, 1)).astype(np.float32)
    weight = torch.from_numpy(slope.astype(np.float64)).reshape(-1)
    case = Case(
        one("PRelu", "a", "slope"), lambda x: F.prelu(x, weight), IMAGES, {"slope": slope}, draw
    )
    check(case)


def test_a_slope_that_is_asked_for_gets_its_gradient() -> None:
    check(
        Case(
            one("PRelu", "a", "b"),
            lambda x, slope: F.prelu(x, slope.reshape(-1)),
            ((None, 3, 5, 4), (3, 1, 1)),
        )
    )
