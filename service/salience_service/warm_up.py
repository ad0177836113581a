"""Before a model serves: its golden example is met on the real provider, every shape is run."""

from collections.abc import Sequence

import numpy as np

from salience_service.bundle.golden import GoldenExample, GoldenGradient
from salience_service.bundle.reader import read_golden
from salience_service.differentiator import IMAGES
from salience_service.drift import norm_difference, relative_difference
from salience_service.errors import BundleRefused
from salience_service.events import GradientSide
from salience_service.interpolation import row_masks, upsample_back
from salience_service.model import ServedModel
from salience_service.row_graphs.sources import MaskedImage
from salience_service.session import Stop
from salience_service.ticket import RowGraph, RowSpan


def warm_up(model: ServedModel) -> float:
    """Runs the golden example and one batch of every tap's shape.

    Returns:
        The largest difference from the golden outputs, relative to the largest absolute
        expected value.

    Raises:
        BundleRefused: the outputs drift beyond the manifest's tolerance, or the gradients
            beyond the golden example's own.
    """
    golden = read_golden(model.bundle)
    drift = max(
        _forward_drift(model, golden),
        _masked_drift(model, golden),
        _pixel_masked_drift(model, golden),
    )
    if not drift <= model.manifest.golden.tolerance:
        raise BundleRefused(
            f"model {model.name} {model.version} drifts from its golden example on "
            f"{model.provider}: {drift:.2e} relative, allowed {model.manifest.golden.tolerance:.2e}"
        )
    if golden.gradient is not None:
        _check_gradients(model, golden, golden.gradient)
    _run_every_shape(model, golden)
    return drift


def _forward_drift(model: ServedModel, golden: GoldenExample) -> float:
    answer = model.forward(golden.image[0], model.manifest.taps, Stop())
    drifts = [relative_difference(answer.logits, golden.logits[0])]
    for tap, expected in zip(model.manifest.taps, golden.taps, strict=True):
        drifts.append(relative_difference(answer.features[tap.name], expected[0]))
    return max(drifts)


def _masked_drift(model: ServedModel, golden: GoldenExample) -> float:
    image = _zero_filled(golden)
    rows = zip(golden.maps, golden.normalise, golden.scale, golden.shift, strict=True)
    spans = [
        RowSpan(image, row[None], bool(normalise), float(scale), float(shift))
        for row, normalise, scale, shift in rows
    ]
    return _rows_drift(model.masked, spans, golden)


def _pixel_masked_drift(model: ServedModel, golden: GoldenExample) -> float:
    """The same rows, their masks made here."""
    if model.pixel_masked is None:
        return 0.0
    size = (model.manifest.input.height, model.manifest.input.width)
    masks = row_masks(golden.maps, golden.normalise, golden.scale, golden.shift, size)
    image = _zero_filled(golden)
    return _rows_drift(model.pixel_masked, [RowSpan(image, mask[None]) for mask in masks], golden)


def _rows_drift(graph: RowGraph, spans: Sequence[RowSpan], golden: GoldenExample) -> float:
    batches = [
        graph.score(spans[start : start + graph.batch_size], Stop())
        for start in range(0, len(spans), graph.batch_size)
    ]
    pairs = zip(np.concatenate(batches), golden.masked_logits, strict=True)
    return max(relative_difference(found, expected) for found, expected in pairs)


def _check_gradients(model: ServedModel, golden: GoldenExample, expected: GoldenGradient) -> None:
    drift = _gradient_drift(model, golden, expected)
    if not drift <= expected.tolerance:
        raise BundleRefused(
            f"the gradients of model {model.name} {model.version} drift from its golden example "
            f"on {model.provider}: {drift:.2e} relative, allowed {expected.tolerance:.2e}"
        )


def _gradient_drift(model: ServedModel, golden: GoldenExample, expected: GoldenGradient) -> float:
    """The largest drift of the three gradients, by their norms."""
    side = model.gradients.open(GradientSide.ONNX).result()
    cotangent, tap = expected.cotangent[0], model.manifest.taps[-1]
    _, found = side.gradient(golden.image[0], cotangent, [IMAGES], Stop())
    cells = upsample_back(found[IMAGES], tap.height, tap.width)
    _, found = side.gradient(golden.image[0], cotangent, [tap.output], Stop())
    image = _zero_filled(golden)
    maps = [
        side.masked_gradient(image.difference, image.fill, each, cotangent, Stop())[1]
        for each in golden.maps
    ]
    return max(
        norm_difference(cells, expected.d_cells[0]),
        norm_difference(found[tap.output], expected.d_tap[0]),
        norm_difference(np.stack(maps), expected.d_maps),
    )


def _run_every_shape(model: ServedModel, golden: GoldenExample) -> None:
    image = _zero_filled(golden)
    contract = model.manifest.input
    shapes = {(tap.height, tap.width) for tap in model.manifest.taps}
    for shape in sorted(shapes | {(contract.height, contract.width)}):
        model.masked.score([RowSpan(image, np.zeros((1, *shape), np.float32))], Stop())


def _zero_filled(golden: GoldenExample) -> MaskedImage:
    return MaskedImage(golden.image[0], np.zeros_like(golden.image[0]))
