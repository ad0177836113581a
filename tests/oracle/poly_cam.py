"""Poly-CAM from equations 1 and 3 to 6 of the paper, and the choices of its published code."""

import torch
import torch.nn.functional as F

from tests.oracle.score_cam import unit_mask


def bilinear(matrix, size):
    return F.interpolate(matrix[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def clip_to_percentiles(matrix):
    """The published u: less the 0.1th percentile, over the 99.9th, clipped to [0, 1]."""
    low = torch.quantile(matrix.flatten(), 0.001)
    high = torch.quantile(matrix.flatten(), 0.999)
    return torch.clamp((matrix - low) / max(float(high), 1e-12), 0, 1)


def greatest(matrix):
    """What the floors of the published code are taken of, so that no map depends on its scale."""
    return float(matrix.max()) or 1.0


def poly_cam(model, image, layers, confidence, fill, weights, variant="paper", local_norm=True):
    """All maps, coarse to fine; `layers`: features [K, h, w], coarse to fine.

    `confidence`: logits to f_c.
    """
    clean = confidence(model(image[None])[0])
    previous, maps = None, []
    for features in layers:
        total = torch.zeros_like(features[0])
        for channel in features:
            if variant == "paper":
                mask = unit_mask(channel, image.shape[1:])
            else:
                mask = bilinear(clip_to_percentiles(channel), image.shape[1:])
            shown = confidence(model((fill + mask * (image - fill))[None])[0])
            hidden = confidence(model((fill + (1 - mask) * (image - fill))[None])[0])
            weight = {
                "plus": shown,
                "minus": torch.relu(clean - hidden),
                "plus-minus": torch.relu(clean + shown - hidden),
            }[weights]
            total = total + weight * channel
        layer = torch.relu(total)
        if previous is not None:
            if local_norm:
                if variant == "paper":
                    coarse = F.adaptive_avg_pool2d(layer[None], previous.shape)[0]
                else:
                    coarse = bilinear(layer, previous.shape)
                least = 1e-12 * greatest(layer)
                layer = layer / torch.clamp(bilinear(coarse, layer.shape), min=least)
            layer = layer * bilinear(previous, layer.shape)
        previous = layer
        maps.append(layer if variant == "paper" else clip_to_percentiles(layer / greatest(layer)))
    return maps
