"""Score-CAM, one channel at a time, from algorithm 1 of the paper (Wang et al. 2020)."""

import torch
import torch.nn.functional as F


def unit_mask(channel, size):
    """n(up(A)): bilinear to the image's size, then min–max; a flat channel masks everything."""
    up = F.interpolate(channel[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    if up.max() - up.min() < 1e-9:
        return torch.zeros_like(up)
    return (up - up.min()) / (up.max() - up.min())


def score_cam(model, image, features, value, fill, weights="softmax"):
    """The map [h, w] of image [C, H, W] and features [K, h, w]; `value`: logits [K] to a number."""
    scores = []
    for channel in features:
        mask = unit_mask(channel, image.shape[1:])
        masked = fill + mask * (image - fill)
        scores.append(value(model(masked[None])[0]))
    channel_weights = torch.stack(scores)
    if weights == "softmax":
        channel_weights = torch.softmax(channel_weights, 0)
    total = torch.zeros_like(features[0])
    for weight, channel in zip(channel_weights, features, strict=True):
        total = total + weight * channel
    return torch.relu(total)
