"""The gradient of a masked row to its map, in float64, by torch's own operators alone.

Opti-CAM (Zhang et al. 2023), §3: x ⊙ n(up(map)) with n the min–max, here on any fill.
"""

import torch
from torch import Tensor, nn


def masked_value(
    network: nn.Module,
    difference: Tensor,
    fill: Tensor,
    image_map: Tensor,
    cotangent: Tensor,
    normalise: bool = True,
    scale: float = 1.0,
    shift: float = 0.0,
) -> Tensor:
    """cotangent · logits of fill + (scale · n(up(map)) + shift) · difference; all float64."""
    up = nn.functional.interpolate(
        image_map[None, None], fill.shape[-2:], mode="bilinear", align_corners=False
    )[0, 0]
    mask = (up - up.min()) / (up.max() - up.min()) if normalise else up
    return network((fill + (scale * mask + shift) * difference)[None])[0] @ cotangent


def masked_gradient(
    network: nn.Module,
    difference: Tensor,
    fill: Tensor,
    image_map: Tensor,
    cotangent: Tensor,
    normalise: bool = True,
    scale: float = 1.0,
    shift: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The value and its gradient to the map, float64 [h, w]."""
    leaf = image_map.clone().requires_grad_()
    value = masked_value(network, difference, fill, leaf, cotangent, normalise, scale, shift)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient
