"""Inception v3 (Szegedy et al. 2016, table 1): branches side by side, asymmetric kernels."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.families.layers import float32

Width = Callable[[int], int]
"""From the paper's channels to those of this network."""

_OWN_MEAN, _OWN_STD = 0.5, 0.5
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Conv(nn.Module):
    """Convolution of any kernel without bias, BatchNorm, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=float32(1e-3))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


def _wide(channels_in: int, channels: int, size: int) -> Conv:
    """A kernel of one row."""
    return Conv(channels_in, channels, (1, size), padding=(0, size // 2))


def _tall(channels_in: int, channels: int, size: int) -> Conv:
    """A kernel of one column."""
    return Conv(channels_in, channels, (size, 1), padding=(size // 2, 0))


class Beside(nn.Module):
    """Branches that see the same input; their outputs side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class MeanThenConv(nn.Module):
    """The mean over 3×3, padding counted, then a 1×1 convolution."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.avg_pool2d(x, 3, 1, 1))


def _figure5(w: Width, before: int, pooled: int) -> Beside:
    return Beside(
        Conv(before, w(64), 1),
        nn.Sequential(Conv(before, w(48), 1), Conv(w(48), w(64), 5, padding=2)),
        nn.Sequential(
            Conv(before, w(64), 1),
            Conv(w(64), w(96), 3, padding=1),
            Conv(w(96), w(96), 3, padding=1),
        ),
        MeanThenConv(before, pooled),
    )


def _first_reduction(w: Width, before: int) -> Beside:
    return Beside(
        Conv(before, w(384), 3, 2),
        nn.Sequential(
            Conv(before, w(64), 1), Conv(w(64), w(96), 3, padding=1), Conv(w(96), w(96), 3, 2)
        ),
        nn.MaxPool2d(3, 2),
    )


def _figure6(w: Width, before: int, inner: int) -> Beside:
    return Beside(
        Conv(before, w(192), 1),
        nn.Sequential(Conv(before, inner, 1), _wide(inner, inner, 7), _tall(inner, w(192), 7)),
        nn.Sequential(
            Conv(before, inner, 1),
            _tall(inner, inner, 7),
            _wide(inner, inner, 7),
            _tall(inner, inner, 7),
            _wide(inner, w(192), 7),
        ),
        MeanThenConv(before, w(192)),
    )


def _second_reduction(w: Width, before: int) -> Beside:
    return Beside(
        nn.Sequential(Conv(before, w(192), 1), Conv(w(192), w(320), 3, 2)),
        nn.Sequential(
            Conv(before, w(192), 1),
            _wide(w(192), w(192), 7),
            _tall(w(192), w(192), 7),
            Conv(w(192), w(192), 3, 2),
        ),
        nn.MaxPool2d(3, 2),
    )


def _figure7(w: Width, before: int) -> Beside:
    return Beside(
        Conv(before, w(320), 1),
        nn.Sequential(Conv(before, w(384), 1), _both(w(384))),
        nn.Sequential(Conv(before, w(448), 1), Conv(w(448), w(384), 3, padding=1), _both(w(384))),
        MeanThenConv(before, w(192)),
    )


def _both(channels: int) -> Beside:
    return Beside(_wide(channels, channels, 3), _tall(channels, channels, 3))


class InceptionV3(nn.Module):
    """Stem and modules of three kinds, on images in its own range; logits [N, classes].

    Args:
        share: channels per channel of the paper, in (0, 1].
        depths: modules like figures 5, 6 and 7 of the paper, ≥ 1 each.
        classes: K.
    """

    def __init__(self, share: float, depths: tuple[int, int, int], classes: int) -> None:
        super().__init__()

        def w(channels: int) -> int:
            return max(2, round(share * channels))

        self.stem = nn.Sequential(
            Conv(3, w(32), 3, 2),
            Conv(w(32), w(32), 3),
            Conv(w(32), w(64), 3, padding=1),
            nn.MaxPool2d(3, 2),
            Conv(w(64), w(80), 1),
            Conv(w(80), w(192), 3),
            nn.MaxPool2d(3, 2),
        )
        channels, first = w(192), []
        for pooled in (w(32), *[w(64)] * (depths[0] - 1)):
            first.append(_figure5(w, channels, pooled))
            channels = 2 * w(64) + w(96) + pooled
        self.first = nn.Sequential(*first)
        self.reduction = _first_reduction(w, channels)
        channels, second = w(384) + w(96) + channels, []
        for inner in (w(128), w(160), w(160), w(192))[: depths[1]]:
            second.append(_figure6(w, channels, inner))
            channels = 4 * w(192)
        self.second = nn.Sequential(*second)
        self.second_reduction = _second_reduction(w, channels)
        channels, third = w(320) + w(192) + channels, []
        for _ in range(depths[2]):
            third.append(_figure7(w, channels))
            channels = w(320) + 4 * w(384) + w(192)
        self.third = nn.Sequential(*third)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.reduction(self.first(self.stem(_own_range(x)))))
        y = self.third(self.second_reduction(y))
        return self.head(torch.flatten(self.drop(self.pool(y)), 1))


def _own_range(x: Tensor) -> Tensor:
    """From ImageNet's normalisation to (intensity − 0.5) / 0.5, channel by channel."""
    channels = []
    for channel, (mean, std) in enumerate(zip(_MEAN, _STD, strict=True)):
        scale, shift = float32(std / _OWN_STD), float32((mean - _OWN_MEAN) / _OWN_STD)
        channels.append(x[:, channel].unsqueeze(1) * scale + shift)
    return torch.cat(channels, 1)
