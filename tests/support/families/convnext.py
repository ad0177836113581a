"""ConvNeXt (Liu et al. 2022, figure 4): 7×7 depthwise, LayerNorm over channels, GELU."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.families.layers import float32

_EPS = float32(1e-6)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of [N, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise convolution, then two dense layers on channels last, scaled, around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.widen = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.narrow = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.empty(channels, 1, 1).uniform_(0.2, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.spatial(x).permute(0, 2, 3, 1))
        y = self.narrow(self.act(self.widen(y))).permute(0, 3, 1, 2)
        return x + self.scale * y


class ConvNeXt(nn.Module):
    """Patches of 4×4, four stages with halving between; logits [N, classes]."""

    def __init__(self, depths: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, 4), ChannelNorm(width, eps=_EPS))
        stages, channels = [], width
        for number, depth in enumerate(depths):
            layers: list[nn.Module] = []
            if number:
                layers += [ChannelNorm(channels, _EPS), nn.Conv2d(channels, 2 * channels, 2, 2)]
                channels *= 2
            layers += [Block(channels) for _ in range(depth)]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(
            ChannelNorm(channels, eps=_EPS), nn.Flatten(1), nn.Linear(channels, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.stages(self.stem(x))))
