"""LIME's weighted ridge regression in closed form (Ribeiro et al. 2016, equation 1), in float64."""

import torch


def lime(shown, scores, width, penalty=1.0):
    """w of argmin_{w,b} Σ π (f − w·z − b)² + penalty · ‖w‖², for z [n, K] and f [n]."""
    count = shown.shape[1]
    cosine = (shown @ torch.ones(count, dtype=shown.dtype)) / (
        shown.norm(dim=1).clamp_min(1e-300) * count**0.5
    )
    nearness = torch.exp(-((1 - cosine) ** 2) / width**2).sqrt()
    design = torch.cat([shown, torch.ones(len(shown), 1, dtype=shown.dtype)], dim=1)
    ridge = penalty * torch.eye(count + 1, dtype=shown.dtype)
    ridge[count, count] = 0  # The intercept is free.
    left = design.T @ (nearness[:, None] * design) + ridge
    return torch.linalg.solve(left, design.T @ (nearness * scores))[:count]
