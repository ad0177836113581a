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

from salience_export.source import LOGITS
from salience_export.specimens import mask_rows, smooth_images
from salience_export.trial import Trial
from salience_service.bundle.manifest import InputContract

TOLERANCE = 1e-3
"""Largest drift allowed on the provider that serves, relative to the largest expected value.
Float32 on another provider sums in another order: 1e-6 to 1e-4 through a hundred layers.
TF32 and half precision drift by 1e-3 and more, which AI and AG do not bear; a wrong graph
drifts by 1e-1."""


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
