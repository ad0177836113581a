"""Rows of masked images, written from their definition with torch's own interpolation."""

import torch
from torch import Tensor
from torch.nn import functional


def masked_rows(
    images: Tensor,
    fills: Tensor,
    image_of: Tensor,
    maps: Tensor,
    normalise: Tensor,
    scale: Tensor,
    shift: Tensor,
) -> Tensor:
    """Rows [N, C, H, W] in float64; maps [N, h, w], the rest as the masked graph takes it."""
    rows = []
    for n, of in enumerate(image_of.tolist()):
        up = functional.interpolate(
            maps[n].double()[None, None],
            size=images.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )[0, 0]
        if normalise[n]:
            low, high = up.min(), up.max()
            is_flat = high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())
            up = torch.zeros_like(up) if is_flat else (up - low) / (high - low)
        mask = scale[n].double() * up + shift[n].double()
        image, fill = images[of].double(), fills[of].double()
        rows.append(mask * image + (1 - mask) * fill)
    return torch.stack(rows)
