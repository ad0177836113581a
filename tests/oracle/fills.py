"""A Gaussian blur as torch code would write it: reflection padding and a two-dimensional kernel."""

import torch
from torch import Tensor
from torch.nn import functional


def gaussian_blur(image: Tensor, kernel: int, sigma: float) -> Tensor:
    """Blurs [C, H, W] with an explicit kernel × kernel window, in float64."""
    reach = kernel // 2
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    window = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * sigma**2))
    window /= window.sum()
    padded = functional.pad(image.double()[None], (reach,) * 4, mode="reflect")
    channels = image.shape[0]
    weight = window.expand(channels, 1, kernel, kernel)
    return functional.conv2d(padded, weight, groups=channels)[0]
