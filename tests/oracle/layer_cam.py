"""Layer-CAM as the paper has it (Jiang et al. 2021), by torch's autograd."""

import torch
import torch.nn.functional as F

from tests.oracle.fusion import combine, raised, unit


def layer_cam(tail, features, value):
    """ReLU(Σ_k ReLU(∂y/∂A_k) ⊙ A_k), an element at a time.

    `tail` takes features [1, K, h, w] to logits [1, C]; `features`: A, [K, h, w].
    """
    leaf = features.clone().requires_grad_()
    value(tail(leaf[None])[0]).backward()
    total = torch.zeros_like(features[0])
    for k, i, j in torch.cartesian_prod(*map(torch.arange, features.shape)).tolist():
        total[i, j] += max(float(leaf.grad[k, i, j]), 0) * features[k, i, j]
    return F.relu(total)


def fused_layer_cam(maps, scaled, size, gamma=2.0):
    """The greatest of maps, coarse to fine, the `scaled` finest by equation 9: tanh(γ n(M)).

    n is min–max, as in torch-cam, where the paper has M / max M: one where a minimum is zero.
    """
    lifted = []
    for place, image_map in enumerate(maps):
        share = unit(image_map)
        fine = place >= len(maps) - scaled
        lifted.append(raised(torch.tanh(gamma * share) if fine else share, size))
    return combine(lifted, "max")
