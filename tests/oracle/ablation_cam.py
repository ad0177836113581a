"""Ablation-CAM, one channel at a time, from the paper (Desai and Ramaswamy 2020)."""

import torch


def ablation_cam(tail, features, value):
    """The map [h, w] of features [K, h, w].

    `tail`: features [1, K, h, w] to logits [1, C]; `value`: logits [C] to a number y.
    The weight is (y − y_k) / |y|: the paper has y, of classes that the network predicts.
    """
    whole = value(tail(features[None])[0])
    total = torch.zeros_like(features[0])
    for k in range(len(features)):
        without = features.clone()
        without[k] = 0
        weight = (whole - value(tail(without[None])[0])) / abs(whole)
        total = total + weight * features[k]
    return torch.relu(total)
