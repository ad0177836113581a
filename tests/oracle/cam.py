"""CAM, place by place, from equation 2 of the paper (Zhou et al. 2016)."""

import torch


def cam(class_weights, features):
    """M [h, w] of the last layer's weights of a class [K] and features [K, h, w]: no relu."""
    channels, height, width = features.shape
    image_map = torch.zeros(height, width, dtype=features.dtype)
    for y in range(height):
        for x in range(width):
            for k in range(channels):
                image_map[y, x] += class_weights[k] * features[k, y, x]
    return image_map
