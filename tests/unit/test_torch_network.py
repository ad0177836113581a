"""Torch modules as people hold them: what is made of each, or what is said of it."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from salience_export.errors import ExportError
from salience_export.source import SourceModel
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import OutputKind
from tests.support.contracts import image_contract
from tests.support.networks import seeded


def opened(network: nn.Module) -> SourceModel:
    return open_torch(network, image_contract(), OutputKind.SOFTMAX)


class Net(nn.Module):
    """A small network; those below change one thing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Linear(8, 5)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.act(self.conv(images)).mean((2, 3)))
        return answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images)


class DropsAlways(Net):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.dropout(self.logits(images))


class Undefined(Net):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images) * float("nan")


class ChangesImages(Net):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images.sub_(0.1))


class InDouble(Net):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images).double()


class Decides(Net):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images) > 0


class ByName(Net):
    def forward(self, *, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.logits(pixel_values)


class Locked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class KeepsAll(Net):
    """Its copy would need the gradients of what it kept."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.logits(images)
        self.kept = [logits]
        return logits


def run_before() -> nn.Module:
    network = KeepsAll()
    network(torch.zeros(1, 3, 32, 32))
    return network


class CountsImages(Net):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images) + torch.ones(1, 5).expand(len(images), -1)


class LeaksAtRandom(Net):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.RReLU()  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (DropsAlways, "other numbers the second time"),
        (Undefined, "puts out NaN or infinity"),
        (ChangesImages, "changes its input in place"),
        (InDouble, "puts out float64; return the logits in float32"),
        (Decides, "puts out bool; return the logits in float32"),
        (ByName, r"takes 1 inputs \(pixel_values=\)"),
        (Locked, r"cannot be copied \(cannot pickle '_thread.lock' object\): take out"),
        (run_before, "tensors with pending gradients"),
        (CountsImages, r"a constant \(2\); its forward holds for some batches only"),
        (LeaksAtRandom, "rrelu_with_noise_functional.*write other operators in its place"),
    ],
)
def test_a_network_that_cannot_be_served_is_told_what_helps(
    make: Callable[[], nn.Module], said: str
) -> None:
    with pytest.raises(ExportError, match=said):
        opened(seeded(make))


class Worn(Net):
    """Named as Hugging Face does, its kernel computed, no gradient through it."""

    def __init__(self) -> None:
        super().__init__()
        nn.utils.weight_norm(self.conv)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        assert pixel_values is not None
        with torch.no_grad():
            return self.logits(pixel_values)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_a_wrapped_network_that_ran_is_exported_without_what_torch_cannot_do() -> None:
    network = seeded(Worn)
    network(torch.zeros(1, 3, 32, 32))
    source = opened(torch.compile(nn.DataParallel(network), backend="eager"))
    assert [tap.name for tap in source.taps] == ["act"]
    assert source.torch_program is None
    assert source.gradient is None
    assert "no torch program for gradients: element 0 of tensors" in source.changes[-1]
    images = torch.randn(2, 3, 32, 32)
    np.testing.assert_array_equal(source.reference(images.numpy()).logits, network(images))


class UShaped(nn.Module):
    """Up again by an operator that ONNX gradients lack; joined and rectified by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deeper = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.mixed, self.head = nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        fine = torch.relu(self.down(images))
        joined = torch.cat([self.up(torch.relu(self.deeper(fine))), fine], 1)
        logits: torch.Tensor = self.head(torch.relu(self.mixed(joined)).mean((2, 3)))
        return logits


def test_where_only_torch_has_gradients_taps_are_what_modules_put_out() -> None:
    assert [tap.name for tap in opened(seeded(UShaped)).taps] == ["mixed"]
