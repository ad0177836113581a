"""The part of a graph that some of its outputs need, so that the rest costs nothing."""

from collections.abc import Collection, Iterator
from pathlib import Path

import onnx

from salience_service.bundle.graph_file import read_graph
from salience_service.errors import BundleRefused


def part_of(path: Path, outputs: Collection[str]) -> bytes:
    """The ONNX file at `path` with these outputs alone, and the nodes and weights they need.

    Its inputs stay as they are, so that feeds fit whatever part is run.

    Raises:
        BundleRefused: not an ONNX file, or one without such an output.
    """
    model = read_graph(path)
    graph = model.graph
    missing = set(outputs) - {value.name for value in graph.output}
    if missing:
        raise BundleRefused(f"{path.name!r} does not put out {sorted(missing)}")
    needed = set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed.update(reads(node))
    part = onnx.GraphProto(
        name=graph.name,
        node=nodes[::-1],
        input=graph.input,
        output=[value for value in graph.output if value.name in outputs],
        initializer=[tensor for tensor in graph.initializer if tensor.name in needed],
    )
    model.graph.CopyFrom(part)
    return model.SerializeToString()


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node uses; those inside its subgraphs too, be they its own or not."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
            yield from (value.name for value in graph.output)
