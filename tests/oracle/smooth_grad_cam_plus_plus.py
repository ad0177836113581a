"""Smooth Grad-CAM++ as torch-cam reads the paper (Omeiza et al. 2019), by torch's autograd."""

import torch
import torch.nn.functional as F


def smooth_grad_cam_plus_plus(taps_and_logits, image, noises, tap, value, mean_gradient=False):
    """ReLU(Σ_k w_k A_k) with A of the clean image, and D², D³ means of g², g³.

    `taps_and_logits` takes images [1, C, H, W] to ({tap: [1, K, h, w]}, logits [1, K']);
    `noises` [C, H, W] are added to the image one by one.
    """
    clean = taps_and_logits(image[None])[0][tap][0].detach()
    gradients = []
    for noise in noises:
        taps, logits = taps_and_logits((image + noise)[None].requires_grad_())
        gradients.append(torch.autograd.grad(value(logits[0]), taps[tap])[0][0])
    second = sum(g**2 for g in gradients) / len(gradients)
    third = sum(g**3 for g in gradients) / len(gradients)
    slope = sum(gradients) / len(gradients) if mean_gradient else gradients[-1]
    total = torch.zeros_like(clean[0])
    for k, channel in enumerate(clean):
        below = 2 * second[k] + (channel * third[k]).sum() + 1e-8
        total = total + (second[k] / below * F.relu(slope[k])).sum() * channel
    return F.relu(total)
