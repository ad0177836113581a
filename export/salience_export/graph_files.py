"""The graphs of a bundle as files: each its own, their weights in one beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from salience_export.differentiate.step import NoRule
from salience_export.graphs.build import BuiltGraphs, build_graphs
from salience_export.graphs.normal import opset_of
from salience_export.graphs.weights import WEIGHTS, WeightsFile
from salience_export.source import SourceModel
from salience_service.bundle.manifest import Graph, GraphRole, Tap


@dataclass(frozen=True)
class GraphFiles:
    """What was written.

    Attributes:
        taps: of the forward graph.
        graphs: one a file.
        changes: what could not be made of the source, in words.
    """

    taps: tuple[Tap, ...]
    graphs: tuple[Graph, ...]
    changes: tuple[str, ...]


def write_graphs(directory: Path, source: SourceModel) -> GraphFiles:
    """Writes the graphs of a source, and its weights once.

    The weights go into their file first; every graph is then made of a copy that only
    points there, so that a large network is held in memory but once.

    Raises:
        ExportError: a tap has no tail.
    """
    with (directory / WEIGHTS).open("wb") as stream:
        weights = WeightsFile(stream)
        built = build_graphs(weights.take(source.model), source.taps)
        taps = tuple(
            Tap(tap.name, tap.channels, tap.height, tap.width, output, tap.layout, linear)
            for tap, output, linear in zip(
                source.taps, built.outputs, built.linear_heads, strict=True
            )
        )
        graphs: list[Graph] = []
        for graph, model in _stated(built, taps):
            content = weights.take(model).SerializeToString(deterministic=True)
            (directory / graph.path).write_bytes(content)
            graphs.append(graph)
    return GraphFiles(taps, tuple(graphs), _changes(built))


def _stated(built: BuiltGraphs, taps: tuple[Tap, ...]) -> Iterator[tuple[Graph, onnx.ModelProto]]:
    """Each graph as the manifest states it."""

    def stated(role: GraphRole, model: onnx.ModelProto) -> tuple[Graph, onnx.ModelProto]:
        return Graph(role, f"{role.value}.onnx", opset_of(model)), model

    yield stated(GraphRole.FORWARD, built.forward)
    yield stated(GraphRole.MASKED, built.masked)
    yield stated(GraphRole.PIXEL_MASKED, built.pixel_masked)
    if not isinstance(built.gradients, NoRule):
        yield stated(GraphRole.GRADIENT, built.gradients.gradient)
        yield stated(GraphRole.MASKED_GRADIENT, built.gradients.masked)
    yield from _from_taps(GraphRole.TAIL, built.tails, built, taps)
    if not isinstance(built.gradients, NoRule):
        yield from _from_taps(GraphRole.TAIL_GRADIENT, built.gradients.tails, built, taps)


def _from_taps(
    role: GraphRole, models: Sequence[onnx.ModelProto], built: BuiltGraphs, taps: Sequence[Tap]
) -> Iterator[tuple[Graph, onnx.ModelProto]]:
    """The graphs that begin at a tap, one for each."""
    for number, (tap, live, model) in enumerate(zip(taps, built.live, models, strict=True)):
        yield Graph(role, f"{role.value}_{number}.onnx", opset_of(model), tap.name, live), model


def _changes(built: BuiltGraphs) -> tuple[str, ...]:
    if isinstance(built.gradients, NoRule):
        return (f"no graphs for gradients: {built.gradients}",)
    return ()
