"""Opti-CAM as the paper has it: torch's autograd and torch's Adam on u (Zhang et al. 2024)."""

import torch
import torch.nn.functional as F


def objective(model, image, features, value, fill, u):
    """F(x; u) and its map S = Σ softmax(u)_k A_k."""
    combined = (torch.softmax(u, 0)[:, None, None] * features).sum(0)
    up = F.interpolate(
        combined[None, None], size=image.shape[1:], mode="bilinear", align_corners=False
    )[0, 0]
    mask = (up - up.min()) / (up.max() - up.min())
    return value(model((fill + mask * (image - fill))[None])[0]), combined


def opti_cam(model, image, features, value, fill, steps, learning_rate=0.1):
    """Values and maps of u_0 … u_steps, in order."""
    u = torch.zeros(len(features), dtype=features.dtype, requires_grad=True)
    adam = torch.optim.Adam([u], lr=learning_rate)
    values, maps = [], []
    for _ in range(steps + 1):
        reached, combined = objective(model, image, features, value, fill, u)
        values.append(float(reached.detach()))
        maps.append(combined.detach())
        adam.zero_grad()
        (-reached).backward()
        adam.step()
    return values, maps
