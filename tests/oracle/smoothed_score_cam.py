"""SS-CAM and IS-CAM, one row at a time: Score-CAM of several masks for each channel."""

import torch

from tests.oracle.score_cam import unit_mask


def smoothed_score_cam(model, image, features, value, fill, masks_of, weights="softmax"):
    """The map [h, w] of image [C, H, W] and features [K, h, w]; `value`: logits to a number.

    `masks_of`: a channel's number k and its mask n(up(A_k)) to the masks that its score
    is the mean over.
    """
    scores = []
    for k, channel in enumerate(features):
        masks = masks_of(k, unit_mask(channel, image.shape[1:]))
        values = [value(model((fill + m * (image - fill))[None])[0]) for m in masks]
        scores.append(torch.stack(values).mean())
    channel_weights = torch.stack(scores)
    if weights == "softmax":
        channel_weights = torch.softmax(channel_weights, 0)
    total = torch.zeros_like(features[0])
    for weight, channel in zip(channel_weights, features, strict=True):
        total = total + weight * channel
    return torch.relu(total)


def is_cam_masks(steps, accumulate=False):
    """`masks_of` of Naidu et al. 2020: i/N of the mask; accumulated as torch-cam sums them."""
    alphas = [i / steps for i in range(1, steps + 1)]
    if accumulate:
        alphas = [sum(alphas[: i + 1]) for i in range(steps)]
    return lambda k, mask: [alpha * mask for alpha in alphas]


def ss_cam_masks(noise):
    """`masks_of` of Wang et al. 2020; `noise` [samples, K, H, W], as it was drawn."""
    return lambda k, mask: [mask + drawn[k] for drawn in noise]
