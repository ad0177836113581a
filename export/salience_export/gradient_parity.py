"""Parity of the gradient graphs: with the source's own gradients or slopes, and with each other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from salience_export.compose import compose
from salience_export.errors import ExportError
from salience_export.slopes import from_slopes
from salience_export.source import FloatArray, ReferenceGradient, SourceModel
from salience_export.specimens import (
    MaskRows,
    cotangents,
    grainy_images,
    mask_rows,
    noise_images,
)
from salience_export.trial import Trial
from salience_service.bundle.manifest import InputContract
from salience_service.bundle.tensors import IMAGES
from salience_service.drift import norm_difference
from salience_service.interpolation import is_flat, upsample, upsample_back

LIMIT = 3e-2
"""Largest difference allowed, by norms, of the middle one of several images. No two float32
implementations agree closely at every image: a sum within rounding of a kink (a ReLU's zero,
equal inputs of a MaxPool) may fall to its other side, and the gradient takes another way.
Noise of 1e-6 on an image turns the gradients of SqueezeNet, MobileNetV2 and EfficientNet-Lite0
by 1e-3 of their norm, of single images by 1e-2; a ResNet-50 of random weights, its BatchNorms
folded, is 8e-3 from itself unfolded. A wrong rule is wrong at every image."""

OwnGradient = Callable[[FloatArray, FloatArray], ReferenceGradient]


def measure_gradients(trial: Trial, source: SourceModel, contract: InputContract) -> float | None:
    """The largest difference found; None where the source could not be differentiated.

    Raises:
        ExportError: it is beyond `LIMIT`, or gradients lack more than `slopes.PART`.
    """
    if not trial.has_gradients:
        return None
    beside_source = (
        from_slopes(trial, source.classes, contract)
        if source.gradient is None
        else _from_own(trial, source, source.gradient, contract)
    )
    worst = max(beside_source, _beside_each_other(trial, source, grainy_images(contract, 1)))
    if not worst <= LIMIT:
        raise ExportError(
            f"the gradient graphs differ from the source by {worst:.1e}; "
            f"at most {LIMIT:.0e} is allowed"
        )
    return worst


def _from_own(
    trial: Trial, source: SourceModel, own: OwnGradient, contract: InputContract
) -> float:
    """The middle difference of images' gradients from the source's own, in batches of 1 and 3."""
    differences: list[float] = []
    for images in (noise_images(contract, 1), grainy_images(contract, 3)):
        weights = cotangents(len(images), source.classes)
        found, expected = trial.gradient(images, weights), own(images, weights)
        differences += [_largest(trial, found, expected, image) for image in range(len(images))]
    return float(np.median(differences))


def _largest(
    trial: Trial, found: dict[str, FloatArray], expected: ReferenceGradient, image: int
) -> float:
    """Of one image's gradients, to itself and to the taps that the source can tell."""
    outputs = {tap.name: tap.output for tap in trial.taps}
    pairs = [(found[IMAGES], expected.images)]
    pairs += [(found[outputs[name]], each) for name, each in expected.features.items()]
    return max(norm_difference(ours[image], theirs[image]) for ours, theirs in pairs)


def _beside_each_other(trial: Trial, source: SourceModel, image: FloatArray) -> float:
    """The other gradient graphs against the gradient of the images."""
    return max(_masked(trial, source, image), _tails(trial, source, image))


def _tails(trial: Trial, source: SourceModel, image: FloatArray) -> float:
    """The tail gradients against the gradients to the same taps, of as far as they go back."""
    weights = cotangents(1, source.classes)
    expected = trial.gradient(image, weights)
    return max(
        norm_difference(
            trial.tail_gradient(graph, trial.tapped(graph, image), weights),
            expected[trial.tap_of(graph).output],
        )
        for graph in trial.tail_gradients
    )


def _masked(trial: Trial, source: SourceModel, image: FloatArray) -> float:
    """The masked gradient against the gradient of the composed rows, taken back by hand."""
    rows = mask_rows(trial.taps[-1])
    weights = cotangents(len(rows.maps), source.classes)
    to_rows = trial.gradient(compose(image, rows), weights)[IMAGES]
    expected = np.stack(
        [_to_map((d * image[0]).sum(0), rows, row) for row, d in enumerate(to_rows)]
    )
    return norm_difference(trial.masked_gradient(image, rows, weights), expected)


def _to_map(to_mask: FloatArray, rows: MaskRows, row: int) -> FloatArray:
    """The gradient to a row's map [h, w], from that to its mask [H, W]."""
    given = rows.maps[row]
    passed = np.asarray(rows.scale[row] * to_mask.astype(np.float64))
    if rows.normalise[row]:
        up = upsample(given, *to_mask.shape)
        passed = _through_unit_range(passed, up.astype(np.float64))
    return upsample_back(passed.astype(np.float32), *given.shape)


def _through_unit_range(
    gradient: NDArray[np.float64], up: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The gradient to up, from that to its min–max; zeros for a flat one."""
    low, high = float(up.min()), float(up.max())
    if is_flat(low, high):
        return np.zeros_like(up)
    lowest, highest = up == low, up == high
    unit = (up - low) / (high - low)
    by_low = (gradient * (unit - 1)).sum() / lowest.sum()
    by_high = -(gradient * unit).sum() / highest.sum()
    spread = gradient + by_low * lowest + by_high * highest
    return np.asarray(spread / (high - low))
