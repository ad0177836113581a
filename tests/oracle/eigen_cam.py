"""Eigen-CAM from the covariance of the features' channels, with no singular values taken."""

import torch


def eigen_cam(features, centre=True, relu=True):
    """The map [h, w] of features [K, h, w].

    Muhammad and Yeasin 2020: O v, where the first right singular vector v of O [hw, K]
    is the eigenvector of OᵀO with the largest eigenvalue. The value of largest
    magnitude is made positive.
    """
    _, height, width = features.shape
    places = torch.stack([features[:, y, x] for y in range(height) for x in range(width)])
    if centre:
        places = places - places.mean(0)
    _, vectors = torch.linalg.eigh(places.T @ places)
    image_map = (places @ vectors[:, -1]).reshape(height, width)
    if abs(image_map.min()) > abs(image_map.max()):
        image_map = -image_map
    return torch.relu(image_map) if relu else image_map
