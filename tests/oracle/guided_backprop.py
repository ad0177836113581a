"""Guided backpropagation and Guided Grad-CAM as their papers have them: ReLUs put in by hand."""

import torch
import torch.nn.functional as F
from torch import nn


class _Guided(torch.autograd.Function):
    """R_l = R_(l+1) · [R_(l+1) > 0] · [f_l > 0] (Springenberg et al. 2015, figure 1)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * (x > 0)

    @staticmethod
    def backward(ctx, coming):
        (x,) = ctx.saved_tensors
        return coming * (coming > 0) * (x > 0)


class GuidedReLU(nn.Module):
    """A ReLU whose way back is guided."""

    def forward(self, x):
        return _Guided.apply(x)


def guided_backprop(guided, image, value):
    """[C, H, W] of a network whose ReLUs are `GuidedReLU`s."""
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(guided(leaf[None])[0]), leaf)
    return gradient


def guided_grad_cam(guided, image, value, cam):
    """[C, H, W], with Grad-CAM's map [h, w] upsampled."""
    up = F.interpolate(cam[None, None], image.shape[1:], mode="bilinear", align_corners=False)
    return guided_backprop(guided, image, value) * up[0, 0]
