"""Weights over a tap's channels, and the map that they sum to: Σ_k w_k A_k."""

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.probe import FloatMap

Weights = NDArray[np.float64]


def softmax(scores: Weights) -> Weights:
    """Weights that sum to 1, float64 [K], from scores [K]."""
    raised = np.exp(scores - scores.max())
    weights: Weights = raised / raised.sum()
    return weights


def weighted_sum(weights: Weights, features: FloatMap) -> NDArray[np.float64]:
    """Σ_k w_k A_k, summed in float64 [h, w], of features [K, h, w]."""
    return np.tensordot(weights, features, axes=1)


def positive_sum(weights: Weights, features: FloatMap) -> NDArray[np.float64]:
    """relu(Σ_k w_k A_k), float64 [h, w]: the saliency of CAM."""
    return np.maximum(weighted_sum(weights, features), 0)
