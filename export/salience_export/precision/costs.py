"""Costs of precisions: how far logits and taps move, on the golden image and a few others."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from salience_export.compose import pixel_masks
from salience_export.golden import TOLERANCE
from salience_export.graphs.weights import WEIGHTS
from salience_export.precision.rounding import in_float16, in_tf32
from salience_export.source import FloatArray
from salience_export.specimens import grainy_images, mask_rows, smooth_images
from salience_export.trial import Trial
from salience_service.bundle.manifest import Graph, GraphRole, InputContract, PrecisionCost
from salience_service.drift import relative_difference
from salience_service.errors import SalienceError

MARGIN = 3
"""Allowed on a device over what the golden example drifts here: hardware may cut where we
round, which doubles the error, and adds up in another order."""

LARGEST = 0.25
"""Largest tolerance that is offered. Rounding moves MobileNetV2's worst number by 0.07 of the
largest; a graph that is wrong throughout moves it by 1."""

_ROUNDINGS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "tf32": in_tf32,
    "float16": in_float16,
}
_ROLES = (GraphRole.FORWARD, GraphRole.MASKED, GraphRole.PIXEL_MASKED)


@dataclass(frozen=True)
class MeasuredPrecision:
    """What a precision does to a model.

    Attributes:
        precision: "tf32" or "float16".
        parity: largest difference from float32, of several images and rows, relative to the
            largest absolute value of the image's or the row's; infinite where the model does
            not bear the precision.
        golden: the same, of the golden example alone.
    """

    precision: str
    parity: float
    golden: float

    @property
    def tolerance(self) -> float:
        """Largest difference from the golden example that a service should allow."""
        return max(TOLERANCE, MARGIN * self.golden)

    @property
    def offered(self) -> bool:
        """Whether a service could still tell the model from a wrong one."""
        return self.tolerance <= LARGEST


def costs(measured: Sequence[MeasuredPrecision]) -> tuple[PrecisionCost, ...]:
    """Those that are offered, for the manifest."""
    return tuple(
        PrecisionCost(each.precision, each.parity, each.tolerance)
        for each in measured
        if each.offered
    )


def measure_precisions(
    directory: Path, graphs: Sequence[Graph], trial: Trial, contract: InputContract
) -> tuple[MeasuredPrecision, ...]:
    """Runs graphs that round beside those that do not; tf32 first.

    Args:
        directory: where the graphs lie, with their weights.
        graphs: all of the bundle's; those of rows of images are measured.
        trial: runs them as they are.
        contract: the model's input.
    """
    found = []
    for precision in _ROUNDINGS:
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".") as place:
            rounded = _rounded(directory, graphs, Path(place), precision)
            try:
                rounding = Trial(Path(place), trial.taps, rounded)
                golden = _golden(rounding, trial, contract)
                parity = max(golden, _others(rounding, trial, contract))
            except SalienceError:  # the runtime knows no such operator in float16, say
                golden = parity = float("inf")
        found.append(MeasuredPrecision(precision, parity, golden))
    return tuple(found)


def _rounded(directory: Path, graphs: Sequence[Graph], place: Path, precision: str) -> list[Graph]:
    """Writes the graphs that round to `place`, under the names of those that do not."""
    kept = [graph for graph in graphs if graph.role in _ROLES]
    shutil.copyfile(directory / WEIGHTS, place / WEIGHTS)
    for graph in kept:
        model = onnx.load(directory / graph.path, load_external_data=False)
        (place / graph.path).write_bytes(_ROUNDINGS[precision](model).SerializeToString())
    return kept


def _golden(rounding: Trial, exact: Trial, contract: InputContract) -> float:
    """The golden example's drift, all that a service looks at before it serves."""
    image, rows = grainy_images(contract, 1), mask_rows(exact.taps[-1])
    masks = pixel_masks(image, rows)
    return max(
        _forward(rounding, exact, image),
        _by_row(rounding.masked(image, rows), exact.masked(image, rows)),
        _by_row(rounding.pixel_masked(image, masks), exact.pixel_masked(image, masks)),
    )


def _others(rounding: Trial, exact: Trial, contract: InputContract) -> float:
    images = np.split(smooth_images(contract, 2), 2)
    return max(_forward(rounding, exact, image) for image in images)


def _forward(rounding: Trial, exact: Trial, image: FloatArray) -> float:
    found, expected = rounding.forward(image), exact.forward(image)
    return max(relative_difference(found[name], expected[name]) for name in expected)


def _by_row(found: FloatArray, expected: FloatArray) -> float:
    """As the service holds rows against the golden example: each by itself."""
    return max(map(relative_difference, found, expected))
