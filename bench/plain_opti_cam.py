"""Opti-CAM as a plain, tuned torch loop, from the paper; it shares no code with the service.

Zhang et al. 2024, "Opti-CAM", section 3: S = Σ_k softmax(u)_k A_k; the mask is S upsampled
and scaled to [0, 1]; Adam climbs the class's logit of the masked image from u = 0. Tuned: the
weights take no gradient, the network and its images lie channels last.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Climb:
    """The map [h, w] after the last step, which the paper returns, and the best one."""

    last: Tensor
    best: Tensor


def tuned(network: nn.Module) -> nn.Module:
    """The network as the loop wants it."""
    still: nn.Module = network.eval().requires_grad_(False)
    # torch's types know this only of tensors.
    return still.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def mask_of(combined: Tensor, size: torch.Size) -> Tensor:
    """n(up(S)): bilinear to the image's size, then min–max, [H, W]."""
    up = F.interpolate(combined[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    low, high = up.amin(), up.amax()
    return (up - low) / (high - low)


def climb(
    network: nn.Module,
    image: Tensor,
    features: Tensor,
    target: int,
    fill: Tensor,
    steps: int,
    learning_rate: float = 0.1,
) -> Climb:
    """Opti-CAM of one image.

    Args:
        network: as `tuned` returns it.
        image: float32 [C, H, W], normalised.
        features: float32 [K, h, w], the tap's output on the image.
        target: the class.
        fill: float32 [C, 1, 1] or [C, H, W], behind the mask.
        steps: Adam's steps; the map after the last is evaluated too.
        learning_rate: Adam's.
    """
    u = torch.zeros(len(features), requires_grad=True)
    adam = torch.optim.Adam([u], lr=learning_rate)
    difference = image - fill
    best, best_value = features[0], -float("inf")
    for step in range(steps + 1):
        combined = torch.tensordot(torch.softmax(u, 0), features, dims=1)
        masked = fill + mask_of(combined, image.shape[1:]) * difference
        batch = masked[None].contiguous(memory_format=torch.channels_last)
        value = network(batch)[0, target]
        if value.item() > best_value:
            best, best_value = combined.detach(), value.item()
        adam.zero_grad()
        (-value).backward()
        if step < steps:
            adam.step()
    return Climb(combined.detach(), best)


def clean_run(network: nn.Module, image: Tensor, layers: dict[str, nn.Module]) -> dict[str, Tensor]:
    """What each layer puts out last for an image [C, H, W], by name, [K, h, w]."""
    caught: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _module, _given, output, name=name: caught.__setitem__(name, output[0].clone())
        )
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        network(image[None].contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    return caught
