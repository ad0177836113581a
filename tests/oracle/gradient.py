"""Gradients to the pixels: plain, times the input, and smoothed, by torch's autograd."""

import torch
import torch.nn.functional as F


def slopes(model, image, value):
    """∂y/∂x, [C, H, W]."""
    leaf = image.clone().requires_grad_()
    return torch.autograd.grad(value(model(leaf[None])[0]), leaf)[0]


def counted(found, values):
    """What counts of derivatives."""
    return {"absolute": torch.abs, "positive": F.relu, "signed": torch.clone}[values](found)


def reduced(found, reduction):
    """[C, H, W] to [H, W], a pixel at a time."""
    total = torch.zeros_like(found[0])
    for i, j in torch.cartesian_prod(*map(torch.arange, total.shape)).tolist():
        colours = found[:, i, j].tolist()
        total[i, j] = max(colours, key=abs) if reduction == "max" else sum(colours)
    return total


def gradient(model, image, value, values="absolute", reduction="max"):
    """max_c |∂y/∂x_c| (Simonyan et al. 2014, §3.1)."""
    return reduced(counted(slopes(model, image, value), values), reduction)


def input_x_gradient(model, image, value):
    """Σ_c x_c ∂y/∂x_c (Shrikumar et al. 2016)."""
    return reduced(image * slopes(model, image, value), "sum")


def smooth_grad(model, image, noises, value, values="absolute", reduction="sum"):
    """The mean of what counts of ∂y/∂x over noisy images (Smilkov et al. 2017, §3)."""
    total = torch.zeros_like(image)
    for noise in noises:
        total = total + counted(slopes(model, image + noise, value), values)
    return reduced(total / len(noises), reduction)
