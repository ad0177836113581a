"""Insertion and deletion as the papers' code takes them: one image after the other, in a loop.

RISE: Petsiuk et al. 2018, §4.1. Poly-CAM: Englebert et al. 2022, §4.2.
"""

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from tests.oracle.fills import gaussian_blur

KERNEL, SIGMA = 11, 5


def rise_blur(image: Tensor) -> Tensor:
    """[C, H, W] under the kernel of RISE's code, zeros beyond the edges; float64."""
    one = np.zeros((KERNEL, KERNEL))
    one[KERNEL // 2, KERNEL // 2] = 1
    window = torch.from_numpy(gaussian_filter(one, SIGMA))
    planes = image.double()[:, None]
    return functional.conv2d(planes, window[None, None], padding=KERNEL // 2)[:, 0]


def backdrops(image: Tensor, protocol: str) -> dict[str, Tensor]:
    """What stands where nothing is shown, by curve."""
    if protocol == "polycam":
        blurred = gaussian_blur(image, KERNEL, SIGMA)
        return {"insertion": blurred, "deletion": blurred}
    return {"insertion": rise_blur(image), "deletion": torch.zeros_like(image).double()}


@torch.no_grad()
def curves(network, image: Tensor, saliency, probability, protocol: str) -> dict[str, list[float]]:
    """Both curves of an image [C, H, W] and a map [H, W], start included.

    Args:
        network: [1, C, H, W] to logits [1, classes].
        probability: the target's, of logits [classes].
    """
    height, width = image.shape[1:]
    order = sorted(range(height * width), key=lambda place: -float(saliency.reshape(-1)[place]))
    clean, found = image.double(), {}
    for name, behind in backdrops(image, protocol).items():
        start, finish = (behind, clean) if name == "insertion" else (clean, behind)
        canvas, scores = start.clone(), []
        for step in range(height + 1):
            scores.append(float(probability(network(canvas[None])[0])))
            for place in order[step * width : (step + 1) * width]:
                row, column = divmod(place, width)
                canvas[:, row, column] = finish[:, row, column]
        found[name] = scores
    return found


def area(scores: list[float], protocol: str) -> float:
    if protocol == "polycam":
        return sum(scores[1:]) / len(scores[1:])
    trapezoids = [(one + other) / 2 for one, other in pairwise(scores)]
    return sum(trapezoids) / len(trapezoids)
