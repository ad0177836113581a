"""HiResCAM as the paper has it (Draelos and Carin 2020), by torch's autograd."""

import torch


def hires_cam(tail, features, value):
    """Σ_k ∂y/∂A_k ⊙ A_k, nothing cut off, an element at a time.

    `tail` takes features [1, K, h, w] to logits [1, C]; `features`: A, [K, h, w].
    """
    leaf = features.clone().requires_grad_()
    value(tail(leaf[None])[0]).backward()
    total = torch.zeros_like(features[0])
    for k, i, j in torch.cartesian_prod(*map(torch.arange, features.shape)).tolist():
        total[i, j] += leaf.grad[k, i, j] * features[k, i, j]
    return total
