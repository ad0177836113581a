"""Whole explanations of EfficientNet-Lite0 by captum and by us: occlusion, integrated gradients.

Occlusion: windows of 64×64 pixels, 16 apart, so 121 rows; what the logit loses, a pixel's mean
over its windows. Integrated gradients: 25 steps of Gauss and Legendre from the mean image, the
channels added up. captum runs the torch network. Each library runs in a process of its own
(bench/peer_process.py) on the same prepared image and class, from the image to the finished map;
only one is busy at a time. Tuned: the allocator as in `peers`, rows or steps a call
(`perturbations_per_eval`, `internal_batch_size`) at the best of a sweep, progress bars off. As it
comes: one window a call, all steps in one.
"""

import importlib.util

from bench.beside_peer import Beside
from bench.report import Part, Skipped
from bench.workplace import Workplace

COMPARED = (
    Beside("captum, occlusion", "captum, occlusion", "salience, occlusion"),
    Beside(
        "captum, integrated gradients",
        "captum, integrated gradients",
        "salience, integrated gradients",
        (1, 2, 4, 8, 16),
    ),
)


def measure(place: Workplace) -> Part:
    """Both methods."""
    if not importlib.util.find_spec("captum"):
        raise Skipped("captum is not installed; see requirements-no-deps.txt")
    found = [each.measured(place) for each in COMPARED]
    return Part(
        "captum_rate",
        __doc__ or "",
        tuple(figure for part in found for figure in part.figures),
        tuple(table for part in found for table in part.tables),
    )
