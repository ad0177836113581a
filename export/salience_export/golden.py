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

Where the bundle has graphs for gradients, also those of cotangent · logits:

| name                 | what                                                         |
|----------------------|--------------------------------------------------------------|
| `cotangent`          | float32 [1, K]                                               |
| `d_cells`            | float32 [1, C, h, w]: to the image, at the last tap's        |
|                      | resolution                                                   |
| `d_tap`              | float32 [1, c, h, w]: to the last tap                        |
| `d_maps`             | float32 [n, h, w]: to the maps, each normalised and shown    |
| `gradient_tolerance` | float32 [1]: largest drift allowed of these, by their norms  |
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salience_export.source import FloatArray
from salience_export.specimens import MaskRows, cotangents, grainy_images, mask_rows
from salience_export.trial import Trial
from salience_service.bundle.manifest import InputContract
from salience_service.bundle.tensors import IMAGES, LOGITS
from salience_service.interpolation import upsample_back

TOLERANCE = 1e-3
"""Largest drift allowed on the provider that serves, relative to the largest expected value.
Float32 on another provider sums in another order: 1e-6 to 1e-4 through a hundred layers.
TF32 and half precision drift by 1e-3 and more, which AI and AG do not bear; a wrong graph
drifts by 1e-1."""

GRADIENT_TOLERANCE = 5e-2
"""Largest drift allowed of gradients, by their norms. Looser: rounding turns a gradient at
kinks. Noise of 1e-6 on this image turned those of SqueezeNet, MobileNetV2 and
EfficientNet-Lite0 by up to 5e-3; a wrong graph drifts by 1e-1 and more."""


def write_golden(path: Path, trial: Trial, contract: InputContract) -> None:
    """Writes the example, with what the graphs put out on this machine's CPU."""
    image, rows = grainy_images(contract, 1), mask_rows(trial.taps[-1])
    clean = trial.forward(image)
    features = {f"tap/{number}": clean[tap.output] for number, tap in enumerate(trial.taps)}
    arrays: dict[str, NDArray[np.generic]] = {
        "image": image,
        "logits": clean[LOGITS],
        "maps": rows.maps,
        "normalise": rows.normalise,
        "scale": rows.scale,
        "shift": rows.shift,
        "masked_logits": trial.masked(image, rows),
    }
    if trial.has_gradients:
        arrays |= _gradients(trial, image, rows, clean[LOGITS].shape[1])
    np.savez_compressed(path, allow_pickle=False, **arrays, **features)


def _gradients(
    trial: Trial, image: FloatArray, rows: MaskRows, classes: int
) -> dict[str, FloatArray]:
    cotangent, tap, count = cotangents(1, classes), trial.taps[-1], len(rows.maps)
    shown = MaskRows(
        maps=rows.maps,
        normalise=np.ones(count, np.bool_),
        scale=np.ones(count, np.float32),
        shift=np.zeros(count, np.float32),
    )
    found = trial.gradient(image, cotangent)
    return {
        "cotangent": cotangent,
        "d_cells": upsample_back(found[IMAGES], tap.height, tap.width),
        "d_tap": found[tap.output],
        "d_maps": trial.masked_gradient(image, shown, np.repeat(cotangent, count, axis=0)),
        "gradient_tolerance": np.array([GRADIENT_TOLERANCE], np.float32),
    }
