"""Swin Transformer (Liu et al. 2021, section 3): attention in windows, every other shifted."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.families.layers import float32

_EPS = float32(1e-5)
_APART = -100.0
"""Added to the attention between pixels that only the shift brought together."""


class Size(NamedTuple):
    """Of a network: width of the first stage, layers and heads per stage, the window's side."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int


def _offsets(window: int) -> Tensor:
    """Per pair of a window's pixels, the row of the bias table for their offset, [w⁴]."""
    at = torch.arange(window)
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    places = torch.stack([rows, columns]).flatten(1)
    apart = places[:, :, None] - places[:, None, :] + window - 1
    return (apart[0] * (2 * window - 1) + apart[1]).flatten()


class WindowAttention(nn.Module):
    """Attention among the pixels of each window of [N, H, W, C], with a bias per offset.

    Args:
        channels: C.
        heads: of the attention.
        window: the windows' side in pixels; maps are padded to a multiple of it.
        shift: pixels that the windows are moved by, 0 for none.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        self.register_buffer("offsets", _offsets(window))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        down, across = x.shape[1] // self.window, x.shape[2] // self.window
        shift = (self.shift * (down > 1), self.shift * (across > 1))  # one window needs no shift
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
        windows = x.view(batch, down, self.window, across, self.window, channels)
        windows = windows.permute(0, 1, 3, 2, 4, 5).reshape(
            batch * down * across, self.window**2, channels
        )
        windows = self._attended(windows, (down, across), shift)
        x = windows.view(batch, down, across, self.window, self.window, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(
            batch, down * self.window, across * self.window, channels
        )
        if any(shift):
            x = torch.roll(x, shift, (1, 2))
        return x[:, :height, :width].contiguous()

    def _attended(self, x: Tensor, grid: tuple[int, int], shift: tuple[int, int]) -> Tensor:
        """Attention within windows [N · windows, pixels, C]."""
        rows, pixels, channels = x.shape
        qkv = self.qkv(x).reshape(rows, pixels, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = (q * (channels // self.heads) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self._bias()
        if any(shift):
            windows = grid[0] * grid[1]
            scores = scores.view(rows // windows, windows, self.heads, pixels, pixels)
            scores = scores + self._apart(x, grid, shift)[:, None]
            scores = scores.view(rows, self.heads, pixels, pixels)
        mixed = F.softmax(scores, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(rows, pixels, channels))

    def _bias(self) -> Tensor:
        pixels = self.window**2
        bias = self.bias_table[self.offsets].view(pixels, pixels, self.heads)  # type: ignore[index]
        return bias.permute(2, 0, 1).unsqueeze(0)

    def _apart(self, x: Tensor, grid: tuple[int, int], shift: tuple[int, int]) -> Tensor:
        """Per window and pair of pixels, 0 or `_APART`, [windows, pixels, pixels]."""
        side = self.window
        regions = x.new_zeros((grid[0] * side, grid[1] * side))
        regions[-side:] += 1
        regions[-shift[0] :] += shift[0] > 0
        regions[:, -side:] += 3
        regions[:, -shift[1] :] += 3 * (shift[1] > 0)
        regions = regions.view(grid[0], side, grid[1], side)
        regions = regions.permute(0, 2, 1, 3).reshape(grid[0] * grid[1], side**2)
        apart = regions[:, None] - regions[:, :, None]
        return apart.masked_fill(apart != 0, _APART)


class Block(nn.Module):
    """Window attention and two dense layers, each after its norm and around a skip."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=_EPS)
        self.attention = WindowAttention(channels, heads, window, shift)
        self.norm2 = nn.LayerNorm(channels, eps=_EPS)
        self.dense = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.dense(self.norm2(x))


class PatchMerging(nn.Module):
    """Four neighbours become one pixel of twice the channels; odd sizes are padded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels, eps=_EPS)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        even, odd = x[:, 0::2], x[:, 1::2]
        four = (even[:, :, 0::2], odd[:, :, 0::2], even[:, :, 1::2], odd[:, :, 1::2])
        return self.reduce(self.norm(torch.cat(four, -1)))


class Swin(nn.Module):
    """Patches of 4×4, stages with merging between, channels last; logits [N, classes]."""

    def __init__(self, size: Size, classes: int) -> None:
        super().__init__()
        channels = size.width
        self.patches = nn.Conv2d(3, channels, 4, 4)
        self.patch_norm = nn.LayerNorm(channels, eps=_EPS)
        stages = []
        for number, (depth, heads) in enumerate(zip(size.depths, size.heads, strict=True)):
            layers: list[nn.Module] = [PatchMerging(channels)] if number else []
            channels <<= number > 0
            for layer in range(depth):
                shift = size.window // 2 if layer % 2 else 0
                layers.append(Block(channels, heads, size.window, shift))
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_norm(self.patches(x).permute(0, 2, 3, 1))
        x = self.norm(self.stages(x)).permute(0, 3, 1, 2)
        return self.head(torch.flatten(self.pool(x), 1))
