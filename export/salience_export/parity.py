"""Parity: how far the exported graphs are from the source, on random and smooth images."""

from dataclasses import dataclass, replace

import numpy as np

from salience_export.compose import compose, pixel_masks
from salience_export.errors import ExportError
from salience_export.gradient_parity import measure_gradients
from salience_export.source import FloatArray, Reference, SourceModel
from salience_export.specimens import mask_rows, noise_images, smooth_images
from salience_export.trial import Trial
from salience_service.bundle.manifest import InputContract
from salience_service.bundle.tensors import LOGITS
from salience_service.drift import relative_difference

LIMIT = 1e-4
"""Largest difference allowed, relative to the largest absolute expected value. Folding and
another order of float32 sums stay below 1e-5 in the networks tried; a wrong graph does not."""

_BATCHES = (1, 3)


@dataclass(frozen=True)
class Parity:
    """Largest differences from the source, each relative to the largest expected value.

    Attributes:
        logits: of the forward graph.
        features: of its taps; 0 where the source cannot tell its features.
        masked: of the masked graphs' logits, maps and pixels, against the source on rows
            composed apart.
        tails: of the tails' logits with every channel kept, against the forward graph.
        gradient: of the gradient graphs, by norms; see `gradient_parity`. None where the
            source could not be differentiated.
    """

    logits: float
    features: float
    masked: float
    tails: float
    gradient: float | None = None

    @property
    def worst(self) -> float:
        """The largest of them, but for the gradients, which have a measure of their own."""
        return max(self.logits, self.features, self.masked, self.tails)

    def __str__(self) -> str:
        return (
            f"logits {self.logits:.1e}, taps {self.features:.1e}, "
            f"masked {self.masked:.1e}, tails {self.tails:.1e}"
        )


def measure_parity(trial: Trial, source: SourceModel, contract: InputContract) -> Parity:
    """Runs source and graphs on the same images, in batches of 1 and 3.

    Raises:
        ExportError: a difference beyond `LIMIT`, or a source without numbers for masked images.
    """
    images = [make(contract, size) for size in _BATCHES for make in (noise_images, smooth_images)]
    forward = [_forward(trial, source, batch) for batch in images]
    parity = Parity(
        logits=max(logits for logits, _ in forward),
        features=max(features for _, features in forward),
        masked=_masked(trial, source, smooth_images(contract, 1)),
        tails=_tails(trial, images[-1]),
    )
    if not parity.worst <= LIMIT:
        raise ExportError(
            f"the exported graphs differ from the source by {parity.worst:.1e} ({parity}); "
            f"at most {LIMIT:.0e} is allowed"
        )
    return replace(parity, gradient=measure_gradients(trial, source, contract))


def _forward(trial: Trial, source: SourceModel, images: FloatArray) -> tuple[float, float]:
    expected, found = source.reference(images), trial.forward(images)
    return (
        relative_difference(found[LOGITS], expected.logits),
        max((_feature(trial, found, expected, name) for name in expected.features), default=0.0),
    )


def _feature(trial: Trial, found: dict[str, FloatArray], expected: Reference, name: str) -> float:
    output = next(tap.output for tap in trial.taps if tap.name == name)
    return relative_difference(found[output], expected.features[name])


def _masked(trial: Trial, source: SourceModel, image: FloatArray) -> float:
    rows = mask_rows(trial.taps[-1])
    expected = source.reference(compose(image, rows)).logits
    if np.isfinite(source.reference(image).logits).all() and not np.isfinite(expected).all():
        raise ExportError(
            "the network gives NaN or infinity for a masked image, which may be blank: where it "
            "divides by what it measures of an image, such as its standard deviation or range, "
            "add a small number to the divisor"
        )
    return max(
        relative_difference(trial.masked(image, rows), expected),
        relative_difference(trial.pixel_masked(image, pixel_masks(image, rows)), expected),
    )


def _tails(trial: Trial, images: FloatArray) -> float:
    expected = trial.forward(images)[LOGITS]
    found = (trial.tail(graph)(trial.tapped(graph, images)) for graph in trial.tails)
    differences = [relative_difference(each, expected) for each in found]
    return max(differences, default=0.0)
