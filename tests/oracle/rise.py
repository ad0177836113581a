"""RISE from the paper (Petsiuk et al. 2018), one mask and one pixel at a time, in float64."""

import torch


def mask(grid, size, down, right):
    """§3.2: a grid [s, s] to (s + 1) · ⌈size / s⌉ pixels, bilinear, cropped at (down, right)."""
    height, width = size
    cells = len(grid)
    up = [(cells + 1) * -(-side // cells) for side in size]
    full = torch.zeros(up, dtype=torch.float64)
    for i in range(up[0]):
        for j in range(up[1]):
            full[i, j] = _read(
                grid, (i + 0.5) * cells / up[0] - 0.5, (j + 0.5) * cells / up[1] - 0.5
            )
    return full[down : down + height, right : right + width]


def _read(grid, y, x):
    """Bilinear between samples at whole places; beyond the outer ones, mirrored about them."""
    total = 0.0
    top, left = int(y // 1), int(x // 1)
    for row, vertical in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, horizontal in ((left, 1 - (x - left)), (left + 1, x - left)):
            total += (
                vertical
                * horizontal
                * float(grid[_mirror(row, len(grid))][_mirror(column, len(grid))])
            )
    return total


def _mirror(place, count):
    if place < 0:
        return -place
    return 2 * (count - 1) - place if place >= count else place


def rise(model, image, masks, value, fill, probability):
    """Equation 6: 1/(N p) Σ f(x ⊙ M_i) M_i, [H, W]; `value`: logits [K] to a number."""
    total = torch.zeros(image.shape[1:], dtype=torch.float64)
    for each in masks:
        masked = fill + each * (image - fill)
        total = total + value(model(masked[None])[0]) * each
    return total / (len(masks) * probability)
