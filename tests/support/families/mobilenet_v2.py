"""MobileNetV2 (Sandler et al. 2018, table 2): inverted residuals with ReLU6."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from tests.support.families.layers import ConvNorm, eighths, relu6


class Stage(NamedTuple):
    """A row of the paper's table: expansion t, channels c, repetitions n, stride s."""

    expansion: int
    channels: int
    depth: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen, convolve each channel, narrow without activation; a skip where sizes allow."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        layers = [ConvNorm(channels_in, wide, 1, 1, relu6)] if expansion > 1 else []
        layers.append(ConvNorm(wide, wide, 3, stride, relu6, groups=wide))
        layers.append(ConvNorm(wide, channels, 1))
        self.body = nn.Sequential(*layers)
        self.has_skip = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.has_skip else self.body(x)


class MobileNetV2(nn.Module):
    """Stem, stages, a last 1×1 convolution and the mean; logits [N, classes]."""

    def __init__(self, stages: Sequence[Stage], multiplier: float, last: int, classes: int) -> None:
        super().__init__()
        channels = eighths(32 * multiplier)
        self.stem = ConvNorm(3, channels, 3, 2, relu6)
        made = []
        for stage in stages:
            width = eighths(stage.channels * multiplier)
            blocks = []
            for block in range(stage.depth):
                stride = 1 if block else stage.stride
                blocks.append(InvertedResidual(channels, width, stride, stage.expansion))
                channels = width
            made.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*made)
        self.last = ConvNorm(channels, last, 1, 1, relu6)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.last(self.stages(self.stem(x)))))
