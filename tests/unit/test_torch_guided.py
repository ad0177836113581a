"""The torch side's guided gradients: equal to ReLUs replaced by hand, and nothing left behind."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from salience_service.gradients.torch_fallback import TorchGradient
from salience_service.runtime.session import Execution
from tests.oracle.guided_backprop import GuidedReLU, guided_backprop
from tests.support.torch_programs import write_program

SIDE, CLASSES = 12, 4
IMAGE = np.random.default_rng(0).normal(size=(3, SIDE, SIDE)).astype(np.float32)
COTANGENT = np.array([1, -1, 0, 0.5], np.float32)


class Everywhere(nn.Module):
    """ReLUs of every kind: modules, in place, after a sum, functions, a module used twice."""

    def __init__(self, rectify: nn.Module, in_place: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rectify, self.in_place = rectify, in_place
        self.first = nn.Conv2d(3, 6, 3, 1, 1)
        self.second = nn.Conv2d(6, 6, 3, 1, 1)
        self.third = nn.Conv2d(6, 6, 3, 2, 1)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.in_place(self.first(image))
        x = self.rectify(self.second(x) + x)
        x = torch.tanh(self.rectify(self.third(x)))
        return {"logits": self.head(x.mean((2, 3)))}


class Clamped(nn.Module):
    """A ReLU by its floor."""

    def __init__(self, ceiling: float | None = None) -> None:
        super().__init__()
        self.ceiling = ceiling

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) if self.ceiling is None else F.hardtanh(x, 0, self.ceiling)


def network(rectify: nn.Module, in_place: nn.Module | None = None) -> nn.Module:
    return Everywhere(rectify, in_place or rectify).eval()


def side_of(made: nn.Module, path: Path) -> TorchGradient:
    return TorchGradient(
        write_program(path / "program.pt2", made, torch.zeros(1, 3, SIDE, SIDE)), 1
    )


def asked(side: TorchGradient, guided: bool) -> np.ndarray:
    _, found = side.gradient(IMAGE, COTANGENT, ("images",), Execution(), guided)
    return found["images"]


def value(logits: Tensor) -> Tensor:
    return logits @ torch.from_numpy(COTANGENT).double()


def expected() -> np.ndarray:
    made = network(GuidedReLU()).double()
    image = torch.from_numpy(IMAGE).double()
    return guided_backprop(lambda x: made(x)["logits"], image, value).numpy()


def assert_near(found: np.ndarray, exact: np.ndarray) -> None:
    assert np.abs(exact).max() > 1e-3
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize(
    "rectify",
    [nn.ReLU(), nn.ReLU(inplace=True), Clamped(), Clamped(100.0)],
    ids=["module", "in place", "clamp", "hardtanh"],
)
def test_guided_gradients_equal_relus_replaced_by_hand(rectify: nn.Module, tmp_path: Path) -> None:
    assert_near(asked(side_of(network(rectify), tmp_path), True), expected())


def test_in_place_relus_before_a_sum_are_guided_at_their_own_place(tmp_path: Path) -> None:
    side = side_of(network(nn.ReLU(), nn.ReLU(inplace=True)), tmp_path)
    assert_near(asked(side, True), expected())


def test_a_guided_call_leaves_the_true_gradient_as_it_was(tmp_path: Path) -> None:
    side = side_of(network(nn.ReLU(inplace=True)), tmp_path)
    before = asked(side, False)
    first = asked(side, True)
    after = asked(side, False)
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(first, asked(side, True))
    assert np.abs(before - first).max() > 1e-2 * np.abs(before).max()


def test_logits_are_those_of_the_network_guided_or_not(tmp_path: Path) -> None:
    side = side_of(network(nn.ReLU()), tmp_path)
    plain, _ = side.gradient(IMAGE, COTANGENT, ("images",), Execution())
    guided, _ = side.gradient(IMAGE, COTANGENT, ("images",), Execution(), True)
    np.testing.assert_array_equal(plain, guided)


def test_what_is_clipped_from_above_passes_nothing(tmp_path: Path) -> None:
    ceiling = 0.3
    side = side_of(network(Clamped(ceiling)), tmp_path)
    found = asked(side, True)

    class Clipped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(0, ceiling)

        @staticmethod
        def backward(ctx, coming):
            (x,) = ctx.saved_tensors
            return coming * (coming > 0) * ((x > 0) & (x < ceiling))

    class Guided(nn.Module):
        def forward(self, x):
            return Clipped.apply(x)

    made = network(Guided()).double()
    image = torch.from_numpy(IMAGE).double()
    exact = guided_backprop(lambda x: made(x)["logits"], image, value).numpy()
    assert_near(found, exact)
    assert np.abs(exact - expected()).max() > 1e-3
