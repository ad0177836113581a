"""Maps of several taps made one, as pytorch-grad-cam and torch-cam do it, with torch's resizing."""

import torch
import torch.nn.functional as F


def raised(image_map, size):
    """[h, w] to `size`, bilinear, align_corners false."""
    return F.interpolate(image_map[None, None], size=size, mode="bilinear", align_corners=False)[
        0, 0
    ]


def unit(image_map):
    """Min–max; a flat map becomes zeros."""
    span = image_map.max() - image_map.min()
    return (image_map - image_map.min()) / span if span > 0 else torch.zeros_like(image_map)


def fuse(maps, fusion, size):
    """Maps [h, w], each min–maxed and raised, then their mean, max or product."""
    return combine([raised(unit(each), size) for each in maps], fusion)


def fuse_signed(maps, size):
    """The mean of maps [h, w], each over its greatest absolute value."""
    return combine([raised(each / each.abs().max(), size) for each in maps], "mean")


def combine(maps, fusion):
    """One map of maps of one size, two at a time."""
    total = maps[0]
    for each in maps[1:]:
        total = {
            "mean": torch.add,
            "max": torch.maximum,
            "product": torch.mul,
        }[fusion](total, each)
    return total / len(maps) if fusion == "mean" else total
