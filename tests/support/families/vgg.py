"""VGG with and without BatchNorm (Simonyan & Zisserman 2015, table 1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Vgg(nn.Module):
    """3×3 convolutions in stages that each end in max-pooling, then three dense layers.

    Args:
        depths: convolutions per stage.
        widths: channels per stage.
        norm: what stands behind a convolution of so many channels; Identity for none.
        grid: what the features are pooled to.
        hidden: width of the dense layers.
        classes: K of the logits [N, K].
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        norm: type[nn.Module],
        grid: int,
        hidden: int,
        classes: int,
    ) -> None:
        super().__init__()
        stages, channels = [], 3
        for depth, width in zip(depths, widths, strict=True):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), norm(width), nn.ReLU(True)]
                channels = width
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d((grid, grid))
        self.head = nn.Sequential(
            nn.Linear(channels * grid * grid, hidden),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.stages(x)), 1))
