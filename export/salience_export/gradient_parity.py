"""Parity of the gradient graphs: with the source's own gradients or slopes, and with each other."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_export.compose import compose
from salience_export.errors import ExportError
from salience_export.source import IMAGES, LOGITS, FloatArray, ReferenceGradient, SourceModel
from salience_export.specimens import (
    MaskRows,
    cotangents,
    grainy_images,
    mask_rows,
    noise_images,
)
from salience_export.trial import Trial
from salience_service.bundle.manifest import InputContract
from salience_service.drift import norm_difference
from salience_service.interpolation import is_flat, upsample, upsample_back

LIMIT = 3e-2
"""Largest difference allowed, by norms, of the middle one of several images. No two float32
implementations agree closely at every image: a sum within rounding of a kink (a ReLU's zero,
equal inputs of a MaxPool) may fall to its other side, and the gradient takes another way.
Noise of 1e-6 on an image turns the gradients of SqueezeNet, MobileNetV2 and EfficientNet-Lite0
by 1e-3 of their norm, of single images by 1e-2; a ResNet-50 of random weights, its BatchNorms
folded, is 8e-3 from itself unfolded. A wrong rule is wrong at every image."""

_STEPS = (1e-2, 3e-3, 1e-3, 3e-4)
"""Changes of the value that a slope is taken over, as shares of its size: small enough for
few kinks, and large beside float32's rounding of the logits."""

PART = 0.25
"""Largest part, by norms, that gradients held against slopes may lack, of the middle one of several
images. The slope along a gradient is blind to what that lacks: it tells the square of what it has.
Those along directions of random signs tell it, less finely: they meet a ReLU's kinks at every
pixel, and are small beside rounding. Right gradients are 1e-2 to 3e-2 from them in SqueezeNet,
MobileNetV2, EfficientNet-Lite0 and a ResNet-50 of random weights. Of few directions what is found
is a matter of chance: a lack of a half nearly always, of a quarter one time in three."""

_SHORT_STEPS = (1e-2, 1e-3, 1e-4, 3e-5)
"""Changes of the value that slopes along random signs are taken over, as `_STEPS`. The shortest
meet few kinks; where the value is near 0 beside the terms it is the sum of, only the longest are
large beside rounding."""

_DIRECTIONS = 2
"""Directions of random signs for each image."""

_SIGN_SEED = 4

_SLOPED = 5
"""Images whose slopes are taken: of noise, where fewer kinks lie along the way."""

OwnGradient = Callable[[FloatArray, FloatArray], ReferenceGradient]


def measure_gradients(trial: Trial, source: SourceModel, contract: InputContract) -> float | None:
    """The largest difference found; None where the source could not be differentiated.

    Raises:
        ExportError: it is beyond `LIMIT`, or gradients lack more than `PART`.
    """
    if not trial.has_gradients:
        return None
    beside_source = (
        _from_slopes(trial, source, noise_images(contract, _SLOPED))
        if source.gradient is None
        else _from_own(trial, source, source.gradient, contract)
    )
    beside_each_other = _beside_each_other(trial, source, grainy_images(contract, 1))
    worst = max(float(np.median(beside_source)), beside_each_other)
    if not worst <= LIMIT:
        raise ExportError(
            f"the gradient graphs differ from the source by {worst:.1e}; "
            f"at most {LIMIT:.0e} is allowed"
        )
    return worst


def _from_own(
    trial: Trial, source: SourceModel, own: OwnGradient, contract: InputContract
) -> list[float]:
    """The differences of images' gradients from the source's own, in batches of 1 and 3."""
    differences: list[float] = []
    for images in (noise_images(contract, 1), grainy_images(contract, 3)):
        weights = cotangents(len(images), source.classes)
        found, expected = trial.gradient(images, weights), own(images, weights)
        differences += [_largest(trial, found, expected, image) for image in range(len(images))]
    return differences


def _largest(
    trial: Trial, found: dict[str, FloatArray], expected: ReferenceGradient, image: int
) -> float:
    """Of one image's gradients, to itself and to the taps that the source can tell."""
    outputs = {tap.name: tap.output for tap in trial.taps}
    pairs = [(found[IMAGES], expected.images)]
    pairs += [(found[outputs[name]], each) for name, each in expected.features.items()]
    return max(norm_difference(ours[image], theirs[image]) for ours, theirs in pairs)


def _from_slopes(trial: Trial, source: SourceModel, images: FloatArray) -> list[float]:
    """The differences of images' gradients from the slopes along them.

    Raises:
        ExportError: they lack more than `PART` of what slopes along other directions tell.
    """
    weights = cotangents(len(images), source.classes)
    gradients = trial.gradient(images, weights)[IMAGES]
    logits = trial.forward(images)[LOGITS]
    sizes = [_size(logits, weight) for weight in weights]
    cases = [_Case(*case) for case in zip(images, weights, gradients, sizes, strict=True)]
    random = np.random.default_rng(_SIGN_SEED)
    lacking = float(np.median([_lacking(trial, case, random) for case in cases]))
    if not lacking <= PART:
        raise ExportError(
            f"the gradient graphs lack a part of the source's gradient, {lacking:.1e} by norms; "
            f"at most {PART:.2f} is allowed"
        )
    return [_from_slope(trial, case) for case in cases]


@dataclass(frozen=True)
class _Case:
    """An image, and the gradient of Σ weight · logit there, as the graph has it.

    Attributes:
        image: [C, H, W].
        weight: [K].
        gradient: [C, H, W].
        size: of the value.
    """

    image: FloatArray
    weight: FloatArray
    gradient: FloatArray
    size: float

    @property
    def steepness(self) -> float:
        """How much the value changes along the gradient, by a unit step."""
        return float(np.linalg.norm(self.gradient.astype(np.float64)))

    def lengths(self, shares: Iterable[float]) -> list[float]:
        """Steps that change the value by these shares of its size."""
        return [share * self.size / self.steepness for share in shares]


def _lacking(trial: Trial, case: _Case, random: np.random.Generator) -> float:
    """What the gradient lacks, by norms, as slopes along directions of random signs tell.

    The square of such a slope is, in the mean, that of the gradient's norm. Of several steps
    the one that agrees best is taken, as in `_from_slope`.
    """
    if case.steepness == 0:
        return float("inf")
    signs = random.choice([-1.0, 1.0], (_DIRECTIONS, *case.image.shape))
    told = np.tensordot(signs, case.gradient, 3)
    differences = [
        [_slope(trial, case, each, length) for each in signs] - told
        for length in case.lengths(_SHORT_STEPS)
    ]
    return min(float(np.sqrt(np.mean(each**2))) for each in differences) / case.steepness


def _from_slope(trial: Trial, case: _Case) -> float:
    """From how the value changes along the gradient: by its norm a unit step.

    Of several steps the one that agrees best is taken: the longer meets more kinks, the
    shorter more rounding, and a wrong gradient agrees with none.
    """
    if case.steepness == 0:
        return float("inf")
    along = case.gradient / case.steepness
    slopes = [_slope(trial, case, along, length) for length in case.lengths(_STEPS)]
    return min(abs(slope / case.steepness - 1) for slope in slopes)


def _size(logits: FloatArray, weight: FloatArray) -> float:
    """How large Σ weight · logit is, were its parts of random sign, in the mean of images."""
    squares = (logits * weight.astype(np.float64)) ** 2
    return float(np.sqrt(squares.sum(axis=1).mean()))


def _slope(trial: Trial, case: _Case, direction: FloatArray, length: float) -> float:
    steps = np.array([length, -length], np.float32)[:, None, None, None] * direction
    logits = trial.forward(np.asarray(case.image + steps, np.float32))[LOGITS]
    ahead, behind = logits.astype(np.float64) @ case.weight
    return float((ahead - behind) / (2 * length))


def _beside_each_other(trial: Trial, source: SourceModel, image: FloatArray) -> float:
    """The other gradient graphs against the gradient of the images."""
    return max(_masked(trial, source, image), _tails(trial, source, image))


def _tails(trial: Trial, source: SourceModel, image: FloatArray) -> float:
    """The tail gradients against the gradients to the same taps, of as far as they go back."""
    weights = cotangents(1, source.classes)
    expected = trial.gradient(image, weights)
    found = (trial.tail_gradient(graph, image, weights) for graph in trial.tail_gradients)
    return max(norm_difference(each, expected[output]) for output, each in found)


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
