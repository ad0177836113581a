"""DenseNet with bottlenecks and compression (Huang et al. 2017, table 1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """Norm, ReLU, 1×1, norm, ReLU, 3×3, on everything that the block made before."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, made: list[Tensor]) -> Tensor:
        y = self.conv1(self.relu1(self.norm1(torch.cat(made, 1))))
        return self.conv2(self.relu2(self.norm2(y)))


class DenseBlock(nn.Module):
    """Layers whose outputs all stay beside the block's input."""

    def __init__(self, channels: int, depth: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DenseLayer(channels + layer * growth, growth) for layer in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for layer in self.layers:
            made.append(layer(made))
        return torch.cat(made, 1)


class Transition(nn.Sequential):
    """Half the channels at half the size."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels // 2, 1, bias=False),
            nn.AvgPool2d(2, 2),
        )


class DenseNet(nn.Module):
    """Stem, max-pooling, dense blocks with transitions between; logits [N, classes]."""

    def __init__(self, depths: Sequence[int], growth: int, classes: int) -> None:
        super().__init__()
        channels = 2 * growth
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 7, 2, 3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        layers: list[nn.Module] = []
        for number, depth in enumerate(depths):
            if number:
                layers.append(Transition(channels))
                channels //= 2
            layers.append(DenseBlock(channels, depth, growth))
            channels += depth * growth
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.blocks(self.stem(x))), inplace=True)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(y, (1, 1)), 1))
