"""Before a model serves: its golden example is met on the real provider, every shape is run."""

import time
from collections.abc import Sequence

import numpy as np

from salience_service.bundle.golden import GoldenExample, GoldenGradient
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import read_golden
from salience_service.bundle.tensors import IMAGES
from salience_service.drift import norm_difference, relative_difference
from salience_service.errors import BundleRefused
from salience_service.events import GradientSide
from salience_service.interpolation import row_masks, upsample_back
from salience_service.models.fixed_shapes import map_shapes
from salience_service.models.model import ServedModel
from salience_service.row_graphs.sources import MaskedImage
from salience_service.runtime.providers import builds_engines
from salience_service.runtime.session import Execution, Lane
from salience_service.scheduling.row_graph import RowGraph, RowSpan


def warm_up(model: ServedModel) -> float:
    """Runs the golden example and every shape there is, so that no request builds or searches.

    What it took is kept with the model, as the measure of calls that do not return.

    Returns:
        The largest difference from the golden outputs, relative to the largest absolute
        expected value.

    Raises:
        BundleRefused: the outputs drift beyond what the manifest allows at the model's
            precision, or says nothing of it; or the gradients beyond the golden example's own.
    """
    golden = read_golden(model.bundle)
    began = time.monotonic()
    drift = max(_warmed(model, golden, lane) for lane in model.device.places())
    model.warm_up_seconds, model.drift = time.monotonic() - began, drift
    if builds_engines(model.device):
        _open_tails(model)
    return drift


def _warmed(model: ServedModel, golden: GoldenExample, lane: Lane) -> float:
    """One of the devices: each has sessions of its own. Returns its drift."""
    allowed = model.manifest.tolerance(model.precision)
    drift = max(
        _forward_drift(model, golden, lane),
        _masked_drift(model, golden, lane),
        _pixel_masked_drift(model, golden, lane),
    )
    if not drift <= allowed:
        raise BundleRefused(
            f"model {model.name} {model.version} drifts from its golden example on "
            f"{model.provider} in {model.precision}: {drift:.2e} relative, allowed {allowed:.2e}"
        )
    if golden.gradient is not None:
        _check_gradients(model, golden, golden.gradient, lane)
    _run_every_shape(model, golden, lane)
    if model.device.provider != "cpu":
        _run_shared_batches(model, golden, lane)
    return drift


def _forward_drift(model: ServedModel, golden: GoldenExample, lane: Lane) -> float:
    answer = model.forward(golden.image[0], model.manifest.taps, Execution(lane))
    drifts = [relative_difference(answer.logits, golden.logits[0])]
    for tap, expected in zip(model.manifest.taps, golden.taps, strict=True):
        drifts.append(relative_difference(answer.outputs[tap.output], expected[0]))
    return max(drifts)


def _masked_drift(model: ServedModel, golden: GoldenExample, lane: Lane) -> float:
    image = _zero_filled(golden)
    rows = zip(golden.maps, golden.normalise, golden.scale, golden.shift, strict=True)
    spans = [
        RowSpan(image, row[None], bool(normalise), float(scale), float(shift))
        for row, normalise, scale, shift in rows
    ]
    return _rows_drift(model.masked, spans, golden, lane)


def _pixel_masked_drift(model: ServedModel, golden: GoldenExample, lane: Lane) -> float:
    """The same rows, their masks made here."""
    if model.pixel_masked is None:
        return 0.0
    size = (model.manifest.input.height, model.manifest.input.width)
    masks = row_masks(golden.maps, golden.normalise, golden.scale, golden.shift, size)
    image = _zero_filled(golden)
    spans = [RowSpan(image, mask[None]) for mask in masks]
    return _rows_drift(model.pixel_masked, spans, golden, lane)


def _rows_drift(
    graph: RowGraph, spans: Sequence[RowSpan], golden: GoldenExample, lane: Lane
) -> float:
    batch_size = graph.batch_size(spans[0].maps.shape[1:])
    batches = [
        graph.score(spans[start : start + batch_size], Execution(lane))
        for start in range(0, len(spans), batch_size)
    ]
    pairs = zip(np.concatenate(batches), golden.masked_logits, strict=True)
    return max(relative_difference(found, expected) for found, expected in pairs)


def _check_gradients(
    model: ServedModel, golden: GoldenExample, expected: GoldenGradient, lane: Lane
) -> None:
    drift = _gradient_drift(model, golden, expected, lane)
    if not drift <= expected.tolerance:
        raise BundleRefused(
            f"the gradients of model {model.name} {model.version} drift from its golden example "
            f"on {model.provider}: {drift:.2e} relative, allowed {expected.tolerance:.2e}"
        )
    last = model.manifest.taps[-1]
    if model.tail_gradients.has(last):
        model.tail_gradients.open(last).result()  # Held against the gradients just checked.


def _gradient_drift(
    model: ServedModel, golden: GoldenExample, expected: GoldenGradient, lane: Lane
) -> float:
    """The largest drift of the three gradients, by their norms."""
    side = model.gradients.open(GradientSide.ONNX).result()
    cotangent, tap = expected.cotangent[0], model.manifest.taps[-1]
    _, found = side.gradient(golden.image[0], cotangent, [IMAGES], Execution(lane))
    cells = upsample_back(found[IMAGES], tap.height, tap.width)
    _, found = side.gradient(golden.image[0], cotangent, [tap.output], Execution(lane))
    image = _zero_filled(golden)
    maps = [
        side.masked_gradient(image.difference, image.fill, each, cotangent, Execution(lane))[1]
        for each in golden.maps
    ]
    return max(
        norm_difference(cells, expected.d_cells[0]),
        norm_difference(found[tap.output], expected.d_tap[0]),
        norm_difference(np.stack(maps), expected.d_maps),
    )


def _run_every_shape(model: ServedModel, golden: GoldenExample, lane: Lane) -> None:
    image = _zero_filled(golden)
    for shape in map_shapes(model.manifest):
        model.masked.score([RowSpan(image, np.zeros((1, *shape), np.float32))], Execution(lane))


def _run_shared_batches(model: ServedModel, golden: GoldenExample, lane: Lane) -> None:
    """The batches that several explanations share: their rows have images of their own."""
    contract = model.manifest.input
    graphs: list[tuple[RowGraph, tuple[int, int]]] = [
        (model.masked, shape) for shape in map_shapes(model.manifest)
    ]
    if model.pixel_masked is not None:
        graphs.append((model.pixel_masked, (contract.height, contract.width)))
    for graph, shape in graphs:
        row = np.zeros((1, *shape), np.float32)
        both = min(graph.batch_size(shape), 2)
        graph.score([RowSpan(_zero_filled(golden), row) for _ in range(both)], Execution(lane))


def _open_tails(model: ServedModel) -> None:
    """Each is an engine, and engines are built before anybody waits for one."""
    for tap in model.manifest.taps:
        if model.manifest.graph(GraphRole.TAIL, tap.name):
            model.tails.open(tap).result()


def _zero_filled(golden: GoldenExample) -> MaskedImage:
    return MaskedImage(golden.image[0], np.zeros_like(golden.image[0]))
