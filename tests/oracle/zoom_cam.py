"""Zoom-CAM as the paper has it (Shi et al. 2021), by torch's autograd."""

import torch.nn.functional as F

from tests.oracle.fusion import fuse
from tests.oracle.hires_cam import hires_cam


def zoom_cam(tails, features, value, size):
    """max_l up(n(ReLU(Σ_k ∂y/∂A_l,k ⊙ A_l,k))); a tail and features [K, h, w] for each layer l."""
    maps = [
        F.relu(hires_cam(tail, each, value)) for tail, each in zip(tails, features, strict=True)
    ]
    return fuse(maps, "max", size)
