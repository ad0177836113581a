"""ResNet with bottlenecks (He et al. 2016, table 1; stride on the 3×3 convolution)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests.support.families.layers import ConvNorm, relu

EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 around a skip that is projected where sizes change."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels = EXPANSION * width
        self.reduce = ConvNorm(channels_in, width, 1, 1, relu)
        self.spatial = ConvNorm(width, width, 3, stride, relu)
        self.restore = ConvNorm(width, channels, 1)
        changes = stride != 1 or channels_in != channels
        self.skip = ConvNorm(channels_in, channels, 1, stride) if changes else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.restore(self.spatial(self.reduce(x)))
        y += self.skip(x)
        return self.relu(y)


class ResNet(nn.Module):
    """Stem, max-pooling and four stages; logits [N, classes]."""

    def __init__(self, depths: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, 7, 2, relu)
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, channels = [], width
        for number, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                stride = 2 if number and not block else 1
                blocks.append(Bottleneck(channels, width << number, stride))
                channels = EXPANSION * (width << number)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.mean = nn.AdaptiveAvgPool2d((1, 1))
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.pool(self.stem(x)))
        return self.head(torch.flatten(self.mean(x), 1))
