"""Layers that several families share: convolution with norm and activation, squeeze-excite."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def float32(number: float) -> float:
    """The nearest float32: ONNX holds attributes so, and a float64 network must mean the same."""
    return float(np.float32(number))


def relu() -> nn.Module:
    """ReLU in place, as the families write it."""
    return nn.ReLU(inplace=True)


def relu6() -> nn.Module:
    """ReLU6 in place."""
    return nn.ReLU6(inplace=True)


def silu() -> nn.Module:
    """SiLU in place."""
    return nn.SiLU(inplace=True)


def hard_swish() -> nn.Module:
    """Hard swish in place."""
    return nn.Hardswish(inplace=True)


def eighths(channels: float, least: int = 8) -> int:
    """Channels rounded to a multiple of eight, never losing more than a tenth (MobileNet)."""
    rounded = max(least, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class ConvNorm(nn.Sequential):
    """Convolution without bias, BatchNorm and, if one is given, an activation.

    Padding keeps the size at stride 1.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        activation: Activation | None = None,
        groups: int = 1,
        eps: float = 1e-5,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(
                channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(channels, eps=eps),
        ]
        super().__init__(*layers, *([activation()] if activation else []))


class SqueezeExcite(nn.Module):
    """Channels weighed by a gate made of their means (Hu et al. 2018, figure 2)."""

    def __init__(
        self, channels: int, squeezed: int, activation: Activation, gate: Activation
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.expand(self.activation(self.reduce(self.pool(x))))) * x
