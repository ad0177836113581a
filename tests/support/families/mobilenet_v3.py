"""MobileNetV3-Large (Howard et al. 2019, table 1): hard swish and squeeze-excite."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.support.families.layers import (
    ConvNorm,
    SqueezeExcite,
    eighths,
    float32,
    hard_swish,
    relu,
)


class Row(NamedTuple):
    """A row of the paper's table: kernel, widened and narrow channels, SE?, HS?, stride."""

    kernel: int
    wide: int
    channels: int
    gated: bool
    swish: bool
    stride: int


LARGE = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)

_EPS = float32(1e-3)


class Block(nn.Module):
    """Widen, convolve each channel, weigh the channels, narrow; a skip where sizes allow."""

    def __init__(self, channels_in: int, row: Row) -> None:
        super().__init__()
        act = hard_swish if row.swish else relu
        layers: list[nn.Module] = []
        if row.wide != channels_in:
            layers.append(ConvNorm(channels_in, row.wide, 1, 1, act, eps=_EPS))
        layers.append(ConvNorm(row.wide, row.wide, row.kernel, row.stride, act, row.wide, _EPS))
        if row.gated:
            layers.append(SqueezeExcite(row.wide, eighths(row.wide / 4), relu, nn.Hardsigmoid))
        layers.append(ConvNorm(row.wide, row.channels, 1, eps=_EPS))
        self.body = nn.Sequential(*layers)
        self.has_skip = row.stride == 1 and channels_in == row.channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.has_skip:
            y += x
        return y


class MobileNetV3(nn.Module):
    """Stem, blocks, a last 1×1 convolution, the mean and two dense layers; logits [N, classes]."""

    def __init__(self, rows: Sequence[Row], stem: int, hidden: int, classes: int) -> None:
        super().__init__()
        before = (stem, *(row.channels for row in rows))
        self.stem = ConvNorm(3, stem, 3, 2, hard_swish, eps=_EPS)
        self.blocks = nn.Sequential(*map(Block, before[:-1], rows))
        last = 6 * rows[-1].channels
        self.last = ConvNorm(rows[-1].channels, last, 1, 1, hard_swish, eps=_EPS)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(
            nn.Linear(last, hidden), hard_swish(), nn.Dropout(0.2), nn.Linear(hidden, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.last(self.blocks(self.stem(x))))
        return self.head(torch.flatten(y, 1))
