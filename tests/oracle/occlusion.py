"""Occlusion (Zeiler and Fergus 2014, §4.2), one window at a time; the mean where they overlap."""

import torch


def occlusion(model, image, value, fill, window, stride):
    """Per pixel the mean of f(x) − f(x with a window filled) over the windows on it, [H, W]."""
    _, height, width = image.shape
    total = torch.zeros(height, width, dtype=image.dtype)
    times = torch.zeros(height, width, dtype=image.dtype)
    clean = value(model(image[None])[0])
    for top in _starts(height, window, stride):
        for left in _starts(width, window, stride):
            hidden = image.clone()
            place = (slice(top, top + window), slice(left, left + window))
            hidden[(slice(None), *place)] = fill[(slice(None), *place)]
            total[place] += clean - value(model(hidden[None])[0])
            times[place] += 1
    return total / times


def _starts(size, window, stride):
    """Until a window reaches the far edge."""
    starts = [0]
    while starts[-1] + window < size:
        starts.append(starts[-1] + stride)
    return starts
