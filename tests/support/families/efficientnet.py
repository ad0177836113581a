"""EfficientNet-B0 (Tan & Le 2019, table 1), and Lite0: ReLU6 and no squeeze-excite."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.support.families.layers import Activation, ConvNorm, SqueezeExcite, float32, silu


class Stage(NamedTuple):
    """A row of the paper's table: expansion, kernel, channels, layers, stride."""

    expansion: int
    kernel: int
    channels: int
    depth: int
    stride: int


STAGES = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)

_EPS = float32(1e-3)


class MBConv(nn.Module):
    """Widen, convolve each channel, weigh the channels (where gated), narrow; perhaps a skip."""

    def __init__(
        self, channels_in: int, stage: Stage, stride: int, activation: Activation, gated: bool
    ) -> None:
        super().__init__()
        wide = channels_in * stage.expansion
        layers: list[nn.Module] = []
        if stage.expansion > 1:
            layers.append(ConvNorm(channels_in, wide, 1, 1, activation, eps=_EPS))
        layers.append(ConvNorm(wide, wide, stage.kernel, stride, activation, wide, _EPS))
        if gated:
            layers.append(SqueezeExcite(wide, max(1, channels_in // 4), silu, nn.Sigmoid))
        layers.append(ConvNorm(wide, stage.channels, 1, eps=_EPS))
        self.body = nn.Sequential(*layers)
        self.has_skip = stride == 1 and channels_in == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.has_skip:
            y += x
        return y


class EfficientNet(nn.Module):
    """Stem, stages, a last 1×1 convolution and the mean; logits [N, classes]."""

    def __init__(
        self,
        stages: Sequence[Stage],
        stem: int,
        last: int,
        classes: int,
        activation: Activation,
        gated: bool,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 3, 2, activation, eps=_EPS)
        made, channels = [], stem
        for stage in stages:
            blocks = []
            for block in range(stage.depth):
                stride = 1 if block else stage.stride
                blocks.append(MBConv(channels, stage, stride, activation, gated))
                channels = stage.channels
            made.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*made)
        self.last = ConvNorm(channels, last, 1, 1, activation, eps=_EPS)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.last(self.stages(self.stem(x))))
        return self.head(torch.flatten(y, 1))
