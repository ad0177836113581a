"""SqueezeNet 1.1 (Iandola et al. 2016): fire modules, max-pooling that rounds up."""

import torch
from torch import Tensor, nn

Groups = tuple[tuple[int, ...], ...]
"""Between poolings, the fires' widths in units."""

V1_1: Groups = ((1, 1), (2, 2), (3, 3, 4, 4))
THIN: Groups = ((1, 1), (2,), (3,))


class Fire(nn.Module):
    """A squeezing 1×1 convolution, then 1×1 and 3×3 side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.squeeze_relu = nn.ReLU(inplace=True)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1_relu = nn.ReLU(inplace=True)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3_relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze_relu(self.squeeze(x))
        sides = self.expand1_relu(self.expand1(y)), self.expand3_relu(self.expand3(y))
        return torch.cat(sides, 1)


class SqueezeNet(nn.Module):
    """Stem, groups of fires behind poolings, class scores as maps, their means as logits.

    Args:
        stem: channels of the stem.
        unit: channels that the first fire squeezes to.
        groups: per pooling, the fires behind it, each as wide as so many units.
        classes: K of the logits [N, K].
    """

    def __init__(self, stem: int, unit: int, groups: Groups, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, stride=2), nn.ReLU(inplace=True)]
        channels = stem
        for multiples in groups:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            for multiple in multiples:
                layers.append(Fire(channels, multiple * unit, 4 * multiple * unit))
                channels = 8 * multiple * unit
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(0.5),
            nn.Conv2d(channels, classes, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.head(self.features(x)), 1)
