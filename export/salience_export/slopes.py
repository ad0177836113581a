"""Slopes of the logits, which gradients are held against where the source has none of its own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from salience_export.errors import ExportError
from salience_export.source import FloatArray
from salience_export.specimens import cotangents, noise_images
from salience_export.trial import Trial
from salience_service.bundle.manifest import Graph, InputContract
from salience_service.bundle.tensors import IMAGES, LOGITS, TAP

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

_TAPPED = 3
"""How many of them have slopes taken from their taps on."""

_SHAKE, _SHAKE_SEED = 0.1, 5
"""Noise on those taps, beside their root mean square. Behind a ReLU many numbers are 0, and a
MaxPool after it has its kink right there: without noise slopes are up to 0.3 from the right
gradients of SqueezeNet and VGG, with it 9e-3. It is not negative: a root may follow the tap."""

_REACH = 1e-2
"""Least change of the value along a tap's gradient over the tap's own length, as a share of the
value's size: where it is less, slopes tell more of rounding than of the tap."""


def from_slopes(trial: Trial, classes: int, contract: InputContract) -> float:
    """The difference from slopes of gradients to the image, or to the tap where it is largest.

    Each is of the middle one of several images.

    Raises:
        ExportError: those to the image lack more than `PART` of what slopes along other
            directions tell.
    """
    images = noise_images(contract, _SLOPED)
    weights = cotangents(len(images), classes)
    cases = _of_images(trial, images, weights)
    random = np.random.default_rng(_SIGN_SEED)
    lacking = float(np.median([_lacking(case, random) for case in cases]))
    if not lacking <= PART:
        raise ExportError(
            f"the gradient graphs lack a part of the source's gradient, {lacking:.1e} by norms; "
            f"at most {PART:.2f} is allowed"
        )
    differences = [np.median([_from_slope(case) for case in cases])]
    for graphs in zip(trial.tails, trial.tail_gradients, strict=True):
        taps = _of_taps(trial, graphs, images[:_TAPPED], weights[:_TAPPED])
        differences.append(np.median([_from_slope_of_tap(case) for case in taps]))
    return float(np.max(differences))


@dataclass(frozen=True)
class _Case:
    """An image or its tap, and the gradient of Σ weight · logit there, as the graph has it.

    Attributes:
        logits: of values [n, …] in the point's place, [n, K].
        point: […].
        weight: [K].
        gradient: […].
        size: of the value.
    """

    logits: Callable[[FloatArray], FloatArray]
    point: FloatArray
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


def _of_images(trial: Trial, images: FloatArray, weights: FloatArray) -> list[_Case]:
    def logits(values: FloatArray) -> FloatArray:
        return trial.forward(values)[LOGITS]

    gradients = trial.gradient(images, weights)[IMAGES]
    sizes = _sizes(logits(images), weights)
    return [_Case(logits, *case) for case in zip(images, weights, gradients, sizes, strict=True)]


def _of_taps(
    trial: Trial, graphs: tuple[Graph, Graph], images: FloatArray, weights: FloatArray
) -> list[_Case]:
    """Of the tap where a tail and its gradient begin, with some noise on it."""
    tail, tapped = trial.tail(graphs[0]), trial.tapped(graphs[0], images)
    tapped[TAP] = _shaken(tapped[TAP])
    gradients = trial.tail_gradient(graphs[1], tapped, weights)
    sizes = _sizes(tail(tapped), weights)

    def logits(image: int, values: FloatArray) -> FloatArray:
        around = {name: each[[image] * len(values)] for name, each in tapped.items()}
        return tail({**around, TAP: values})

    return [
        _Case(partial(logits, image), *case)
        for image, case in enumerate(zip(tapped[TAP], weights, gradients, sizes, strict=True))
    ]


def _shaken(taps: FloatArray) -> FloatArray:
    noise = np.abs(np.random.default_rng(_SHAKE_SEED).normal(size=taps.shape))
    size = np.sqrt(np.mean(np.square(taps, dtype=np.float64)))
    return np.asarray(taps + _SHAKE * size * noise, np.float32)


def _lacking(case: _Case, random: np.random.Generator) -> float:
    """What the gradient lacks, by norms, as slopes along directions of random signs tell.

    The square of such a slope is, in the mean, that of the gradient's norm. Of several steps
    the one that agrees best is taken, as in `_from_slope`.
    """
    if case.steepness == 0:
        return float("inf")
    signs = random.choice([-1.0, 1.0], (_DIRECTIONS, *case.point.shape))
    told = np.tensordot(signs, case.gradient, case.gradient.ndim)
    differences = [
        [_slope(case, each, length) for each in signs] - told
        for length in case.lengths(_SHORT_STEPS)
    ]
    return min(float(np.sqrt(np.mean(each**2))) for each in differences) / case.steepness


def _from_slope(case: _Case) -> float:
    """From how the value changes along the gradient: by its norm a unit step.

    Of several steps the one that agrees best is taken: the longer meets more kinks, the
    shorter more rounding, and a wrong gradient agrees with none.
    """
    if case.steepness == 0:
        return float("inf")
    along = case.gradient / case.steepness
    slopes = [_slope(case, along, length) for length in case.lengths(_STEPS)]
    return min(abs(slope / case.steepness - 1) for slope in slopes)


def _from_slope_of_tap(case: _Case) -> float:
    """As `_from_slope`, by steps that are short beside the tap; 0 where slopes tell nothing."""
    reach = case.steepness * float(np.linalg.norm(case.point))
    if reach < _REACH * case.size:
        return 0.0
    return _from_slope(replace(case, size=min(case.size, reach)))


def _sizes(logits: FloatArray, weights: FloatArray) -> list[float]:
    """How large each Σ weight · logit is, were its parts of random sign, in the mean of images."""
    squares = np.square(weights, dtype=np.float64) @ np.square(logits, dtype=np.float64).mean(0)
    return [float(size) for size in np.sqrt(squares)]


def _slope(case: _Case, direction: FloatArray, length: float) -> float:
    steps = np.multiply.outer([length, -length], direction)
    logits = case.logits(np.asarray(case.point + steps, np.float32))
    ahead, behind = logits.astype(np.float64) @ case.weight
    return float((ahead - behind) / (2 * length))
