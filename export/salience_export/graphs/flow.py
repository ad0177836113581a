"""How tensors flow through an ONNX graph: who makes them, who uses them, what is dead."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property

import onnx

from salience_export.graphs.axes import channel_axes
from salience_export.graphs.shapes import Shape, shapes_of

SHAPE_READERS = frozenset({"Shape", "Size"})
"""Operators that read how large a tensor is, never its numbers."""


class Flow:
    """One graph, indexed. Reads the model, never changes it.

    Attributes:
        nodes: in the order they are computed.
        producers: tensor name → the node that makes it.
        consumers: tensor name → the nodes that use it, subgraphs included.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: tuple[onnx.NodeProto, ...] = tuple(model.graph.node)
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in sorted(reads(node)):
                self.consumers.setdefault(name, []).append(node)

    def after(self, tensors: Iterable[str], without: Collection[str] = ()) -> set[str]:
        """The tensors whose numbers depend on the given ones, these included.

        Args:
            tensors: the given ones.
            without: tensors that no dependence is followed through.
        """
        found = set(tensors)
        for node in self.nodes:
            if node.op_type not in SHAPE_READERS and not found.isdisjoint(reads(node)):
                found.update(name for name in node.output if name and name not in without)
        return found

    def before(self, tensors: Iterable[str]) -> set[str]:
        """The tensors that the given ones are made from, these included."""
        found = set(tensors)
        for node in reversed(self.nodes):
            if not found.isdisjoint(node.output):
                found |= reads(node)
        return found

    @cached_property
    def rows(self) -> frozenset[str]:
        """The tensors whose numbers depend on the graph's inputs: one row an image."""
        held = {tensor.name for tensor in self.model.graph.initializer}
        inputs = [value.name for value in self.model.graph.input if value.name not in held]
        return frozenset(self.after(inputs))

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shapes of the tensors that inference can tell."""
        return shapes_of(self.model)

    @cached_property
    def channels(self) -> Mapping[str, int]:
        """The axis of channels of each tensor, as far as operators tell it."""
        return channel_axes(self.nodes, self.shapes)


def reads(node: onnx.NodeProto) -> set[str]:
    """Names of all tensors a node uses, those its subgraphs take from outside included."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        made = {value.name for value in graph.input} | {held.name for held in graph.initializer}
        for inner in graph.node:
            names |= reads(inner) - made
            made.update(inner.output)
        names |= {value.name for value in graph.output} - made
    return names


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node: branches of If, bodies of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Gives tensors of the graph (changed in place) other names, wherever they appear."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for inner in subgraphs(node):
            rename(inner, names)


def stand_aside(
    model: onnx.ModelProto, wanted: Collection[str]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A copy in which no tensor bears a wanted name, and the new names of those that did."""
    used = names_of(model.graph)
    moved = {name: unused(name, used) for name in wanted if name in used}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    rename(result.graph, moved)
    return result, moved


def names_of(graph: onnx.GraphProto) -> set[str]:
    """Every tensor name of the graph and its subgraphs."""
    used = {value.name for value in (*graph.input, *graph.output)}
    used |= {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        used.update(node.input, node.output)
        for inner in subgraphs(node):
            used |= names_of(inner)
    return used - {""}


def unused(name: str, used: Collection[str]) -> str:
    """A name like this one that is not used."""
    candidate = name
    while candidate in used:
        candidate = f"source/{candidate}"
    return candidate


def assemble(
    model: onnx.ModelProto,
    name: str,
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    nodes: Iterable[onnx.NodeProto],
) -> onnx.ModelProto:
    """A graph of these nodes and the model's weights; what no output needs is left out."""
    ends = list(outputs)
    kept: list[onnx.NodeProto] = []
    needed = {value.name for value in ends}
    for node in reversed(list(nodes)):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed |= reads(node)
    graph = onnx.helper.make_graph(
        kept[::-1],
        name,
        list(inputs),
        ends,
        [t for t in model.graph.initializer if t.name in needed],
    )
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 8)
    )
