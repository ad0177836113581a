"""The golden example: a small input and its outputs, which a service repeats before it serves.

Arrays of the `.npz`, no pickle among them:

| name            | what                                                       |
|-----------------|------------------------------------------------------------|
| `image`         | float32 [1, C, H, W]: the model's own numbers              |
| `logits`        | float32 [1, K]                                             |
| `tap/0` …       | float32 [1, c, h, w]: features, in the manifest's order    |
| `maps`          | float32 [n, h, w] at the last tap's resolution             |
| `normalise`     | bool [n]                                                   |
| `scale`, `shift`| float32 [n]                                                |
| `masked_logits` | float32 [n, K]: of those rows of the image, filled with 0  |
"""

from pathlib import Path

import numpy as np
from salience_service.bundle.manifest import InputContract, Tap
from salience_service.interpolation import upsample

from salience_export.sources.source import LOGITS, FloatArray
from salience_export.trial import MaskRows, Trial

TOLERANCE = 1e-3
"""Largest drift allowed on the provider that serves, relative to the largest expected value.
Float32 on another provider sums in another order: 1e-6 to 1e-4 through a hundred layers.
TF32 and half precision drift by 1e-3 and more, which AI and AG do not bear; a wrong graph
drifts by 1e-1."""

_SEED = 2
_CELLS = 5
"""A smooth image has 5×5 random intensities: a few soft blobs, as in a photograph."""


def smooth_images(contract: InputContract, count: int) -> FloatArray:
    """Images [count, C, H, W] of low spatial frequency, from a fixed seed."""
    cells = np.random.default_rng(_SEED).uniform(0, 1, (count, contract.channels, _CELLS, _CELLS))
    blobs = upsample(cells.astype(np.float32), contract.height, contract.width)
    return np.ascontiguousarray(contract.normalise(blobs.swapaxes(0, 1)).swapaxes(0, 1))


def mask_rows(tap: Tap) -> MaskRows:
    """Rows that go every way through the masked graph, at the tap's resolution.

    Min–max normalised, the same inverted, as it is and inverted (a map within [0, 1]),
    and a flat map, which normalises to zeros.
    """
    maps = np.random.default_rng(_SEED).uniform(0, 1, (5, tap.height, tap.width))
    maps[0] = 6 * maps[0] - 2
    maps[1] = maps[0]
    maps[4] = 0.7
    return MaskRows(
        maps=maps.astype(np.float32),
        normalise=np.array([True, True, False, False, True]),
        scale=np.array([1, -1, 1, -1, 1], np.float32),
        shift=np.array([0, 1, 0, 1, 0], np.float32),
    )


def write_golden(path: Path, trial: Trial, contract: InputContract) -> None:
    """Writes the example, with what the graphs put out on this machine's CPU."""
    image, rows = smooth_images(contract, 1), mask_rows(trial.taps[-1])
    clean = trial.forward(image)
    features = {f"tap/{number}": clean[tap.output] for number, tap in enumerate(trial.taps)}
    arrays = {
        "image": image,
        "logits": clean[LOGITS],
        "maps": rows.maps,
        "normalise": rows.normalise,
        "scale": rows.scale,
        "shift": rows.shift,
        "masked_logits": trial.masked(image, rows),
    }
    np.savez_compressed(path, allow_pickle=False, **arrays, **features)
