"""Extremal perturbations as Fong et al. 2019 and TorchRay's settings have them: autograd, SGD."""

import math

import torch
import torch.nn.functional as F

STEP, SIGMA, COLDNESS, LEVELS, BLUR = 7, 21, 20, 8, 20


def seen_cells(height, width, dtype=torch.float64):
    """k(u − u_i) [pixels, cells] of a mask with margins, cells beyond the image included.

    Zero stands for a cell outside a pixel's window; k itself is nowhere zero. With it comes
    the mask's shape, and the width of the cells' border.
    """
    border = 1 + math.ceil(2 * SIGMA / STEP)
    window = 2 * (1 + math.ceil(SIGMA / STEP)) + 1
    apart, inside, shape = [], [], []
    for size in (height, width):
        cells = torch.arange(math.ceil(size / STEP) + 2 * border)
        pixels = torch.arange(STEP * (len(cells) - window) + 1)
        first = (pixels // STEP)[:, None]
        inside.append((cells >= first) & (cells < first + window))
        apart.append((pixels[:, None] - SIGMA - STEP * (cells - border)).to(dtype) ** 2)
        shape.append(len(pixels))
    distance = (apart[0][:, None, :, None] + apart[1][None, :, None, :]).sqrt()
    kernel = torch.exp(-2 * (distance / SIGMA - 0.5).clamp(min=0) ** 2)
    kernel = kernel * (inside[0][:, None, :, None] & inside[1][None, :, None, :])
    return kernel.reshape(shape[0] * shape[1], -1), shape, border


def drawn(cells, seen):
    """The mask with its margins: the smooth maximum over the cells that a pixel sees."""
    kernel, shape, border = seen
    z = kernel * F.pad(cells, (border,) * 4).flatten()
    share = (COLDNESS * z).masked_fill(kernel == 0, -math.inf).softmax(1)
    return (share * z).sum(1).reshape(shape)


def pyramid(image, kind):
    """The image [C, H, W] at LEVELS levels, hidden first."""
    levels = []
    for share in torch.linspace(0, 1, LEVELS, dtype=image.dtype):
        sigma = float((1 - share) * BLUR)
        if kind == "fade":
            levels.append(share * image)
        elif sigma == 0:
            levels.append(image)
        else:
            reach = math.ceil(4 * sigma)
            window = torch.exp(
                -0.5 * (torch.arange(-reach, reach + 1, dtype=image.dtype) / sigma) ** 2
            )
            window = window / window.sum()
            tall = F.conv2d(image[:, None], window[None, None, :, None], padding=(reach, 0))
            levels.append(F.conv2d(tall, window[None, None, None], padding=(0, reach))[:, 0])
    return torch.stack(levels)


def between(levels, mask):
    """What the mask picks of the levels, linearly."""
    place = mask * (LEVELS - 1)
    weights = (1 - (place - torch.arange(LEVELS, dtype=mask.dtype)[:, None, None]).abs()).clamp(
        min=0
    )
    return (weights[:, None] * levels).sum(0)


def extremal_perturbation(model, image, fill, value, area, steps, kind="blur"):
    """The mask [H, W] of every step, and the cells after it."""
    _, height, width = image.shape
    levels = fill + pyramid(image - fill, kind)
    cells = torch.ones(math.ceil(height / STEP), math.ceil(width / STEP), dtype=image.dtype)
    cells.requires_grad_()
    seen = seen_cells(height, width, image.dtype)
    descent = torch.optim.SGD([cells], lr=0.01, momentum=0.9, dampening=0.9)
    weight, masks, after = 300.0, [], []
    for step in range(steps):
        mask = drawn(cells, seen)
        on_image = mask[SIGMA : SIGMA + height, SIGMA : SIGMA + width]
        masks.append(on_image.detach())
        shown = between(levels, on_image)
        if step % 2 == 0:
            shown = shown.flip(2)
        wanted = torch.zeros(mask.numel(), dtype=mask.dtype)
        wanted[int(mask.numel() * (1 - area)) :] = 1
        loss = weight * ((mask.flatten().sort(stable=True)[0] - wanted) ** 2).mean()
        descent.zero_grad()
        (loss - value(model(shown[None])[0])).backward()
        descent.step()
        with torch.no_grad():
            cells.clamp_(0, 1)
        after.append(cells.detach().clone())
        weight *= 1.0035
    return masks, after
