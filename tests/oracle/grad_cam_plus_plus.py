"""Grad-CAM++ as the paper has it (Chattopadhay et al. 2018, equations 7 and 19), by autograd."""

import torch
import torch.nn.functional as F


def grad_cam_plus_plus(tail, features, value, epsilon=1e-6):
    """ReLU(Σ_k w_k A_k), w_k = Σ_ij α_k,ij ReLU(g_k,ij), an element at a time.

    α = g² / (2 g² + Σ_ab A_k,ab g³ + ε): the higher derivatives of exp(y) are powers of
    the first, as the paper says of networks that are piecewise linear.
    `tail` takes features [1, K, h, w] to logits [1, C]; `features`: A, [K, h, w].
    """
    leaf = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(tail(leaf[None])[0]), leaf)
    total = torch.zeros_like(features[0])
    for channel, slope in zip(features, gradient, strict=True):
        activity = channel.sum()
        weight = 0.0
        for g in slope.flatten().tolist():
            if g > 0:
                weight += g**2 / (2 * g**2 + float(activity) * g**3 + epsilon) * g
        total = total + weight * channel
    return F.relu(total)
