"""XGrad-CAM as the paper has it (Fu et al. 2020), by torch's autograd."""

import torch
import torch.nn.functional as F


def x_grad_cam(tail, features, value, epsilon=1e-7):
    """ReLU(Σ_k w_k A_k), w_k = Σ_ij A_k,ij / (Σ A_k + ε) ∂y/∂A_k,ij, an element at a time.

    `tail` takes features [1, K, h, w] to logits [1, C]; `features`: A, [K, h, w].
    """
    leaf = features.clone().requires_grad_()
    value(tail(leaf[None])[0]).backward()
    total = torch.zeros_like(features[0])
    for channel, slope in zip(features, leaf.grad, strict=True):
        weight = 0.0
        for a, g in zip(channel.flatten().tolist(), slope.flatten().tolist(), strict=True):
            weight += a / (float(channel.sum()) + epsilon) * g
        total = total + weight * channel
    return F.relu(total)
