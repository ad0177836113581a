"""Opti-CAM as the paper has it: torch's autograd and torch's Adam on u (Zhang et al. 2024)."""

import torch
import torch.nn.functional as F


def normalised(up, normaliser):
    """n(up): equations 16, 17 and 18."""
    if normaliser == "range":
        return (up - up.min()) / (up.max() - up.min())
    return up / up.max() if normaliser == "max" else 1 / (1 + torch.exp(-up))


def objective(model, image, features, value, fill, u, kind="mask", normaliser="range"):
    """F(x; u) and its map S = Σ softmax(u)_k A_k; F by equations 10, 19, F.1 and F.2."""
    combined = (torch.softmax(u, 0)[:, None, None] * features).sum(0)
    up = F.interpolate(
        combined[None, None], size=image.shape[1:], mode="bilinear", align_corners=False
    )[0, 0]
    mask = normalised(up, normaliser)

    def logit(shown):
        return value(model(shown[None])[0])

    def masked(by):
        return logit(fill + by * (image - fill))

    if kind == "mask":
        reached = masked(mask)
    elif kind == "diff":
        reached = -(logit(image) - masked(mask)).abs()
    elif kind == "iomask":
        reached = masked(mask) - masked(1 - mask)
    else:
        reached = (logit(image) - masked(1 - mask)).abs() - (logit(image) - masked(mask)).abs()
    return reached, combined


def opti_cam(model, image, features, value, fill, steps, learning_rate=0.1, **asked):
    """Values and maps of u_0 … u_steps, in order."""
    u = torch.zeros(len(features), dtype=features.dtype, requires_grad=True)
    adam = torch.optim.Adam([u], lr=learning_rate)
    values, maps = [], []
    for _ in range(steps + 1):
        reached, combined = objective(model, image, features, value, fill, u, **asked)
        values.append(float(reached.detach()))
        maps.append(combined.detach())
        adam.zero_grad()
        (-reached).backward()
        adam.step()
    return values, maps
