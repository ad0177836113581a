"""Vision Transformer (Dosovitskiy et al. 2021, section 3.1): patches, class token, encoder."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.support.families.layers import float32

_EPS = float32(1e-6)


class Size(NamedTuple):
    """Of a transformer: pixels of the image and a patch, layers, heads, widths."""

    image: int
    patch: int
    depth: int
    heads: int
    width: int
    hidden: int


class EncoderLayer(nn.Module):
    """Attention and two dense layers, each after its norm and around a skip."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=_EPS)
        self.attention = nn.MultiheadAttention(size.width, size.heads, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(size.width, eps=_EPS)
        self.dense = nn.Sequential(
            nn.Linear(size.width, size.hidden),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(size.hidden, size.width),
            nn.Dropout(0.1),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        y = self.norm1(tokens)
        y, _ = self.attention(y, y, y, need_weights=False)
        tokens = tokens + self.drop(y)
        return tokens + self.dense(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Tokens of patches behind a class token, whose last state makes the logits [N, classes]."""

    def __init__(self, size: Size, classes: int) -> None:
        super().__init__()
        grid = size.image // size.patch
        self.patches = nn.Conv2d(3, size.width, size.patch, size.patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, size.width))
        self.position = nn.Parameter(0.5 * torch.randn(1, grid * grid + 1, size.width))
        self.drop = nn.Dropout(0.1)
        self.layers = nn.Sequential(*(EncoderLayer(size) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.width, eps=_EPS)
        self.head = nn.Linear(size.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        patches = self.patches(x)
        patches = patches.reshape(batch, patches.shape[1], -1).permute(0, 2, 1)
        tokens = torch.cat([self.class_token.expand(batch, -1, -1), patches], 1)
        tokens = self.norm(self.layers(self.drop(tokens + self.position)))
        return self.head(tokens[:, 0])
