"""Torch modules that put out probabilities where logits are declared, however these are written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from salience_export.errors import ExportError
from salience_export.sources.torch_module import open_torch
from salience_service.bundle.manifest import OutputKind
from tests.support import networks
from tests.support.contracts import image_contract


class Ending(nn.Module):
    """A network whose two heads are brought together by a function."""

    def __init__(self, end: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = networks.residual_net(3), networks.residual_net(3)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.first(x), self.second(x))


@pytest.mark.parametrize(
    "end",
    [
        lambda a, _: torch.sigmoid(a).clamp(1e-6, 1 - 1e-6),
        lambda a, _: 1 / (1 + torch.exp(-a)),
        lambda a, b: (torch.sigmoid(a) + torch.sigmoid(b)) / 2,
        lambda a, b: torch.stack([torch.sigmoid(a), torch.sigmoid(b)]).mean(0),
    ],
)
def test_they_are_refused(end: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ExportError, match="never below 0, as probabilities are; return the logits"):
        open_torch(Ending(end).eval(), image_contract(), OutputKind.SIGMOID)


def test_a_gate_on_logits_is_not() -> None:
    network = Ending(lambda a, b: a * torch.sigmoid(b)).eval()
    assert open_torch(network, image_contract(), OutputKind.SIGMOID).classes == 3
