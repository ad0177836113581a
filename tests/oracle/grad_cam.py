"""Grad-CAM as the paper has it (Selvaraju et al. 2017, equations 1 and 2), by torch's autograd."""

import torch
import torch.nn.functional as F


def grad_cam(tail, features, value, positive=False):
    """ReLU(Σ_k α_k A_k), α_k = 1/Z Σ_ij ∂y/∂A_k,ij, a channel at a time.

    With `positive` the sum is over the positive derivatives alone.
    `tail` takes features [1, K, h, w] to logits [1, C]; `features`: A, [K, h, w].
    """
    leaf = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(tail(leaf[None])[0]), leaf)
    if positive:
        gradient = F.relu(gradient)
    total = torch.zeros_like(features[0])
    for channel, slope in zip(features, gradient, strict=True):
        total = total + slope.sum() / slope.numel() * channel
    return F.relu(total)
