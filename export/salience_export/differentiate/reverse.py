"""The walk back through a graph: cotangents add up from its ends to the tensors asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from salience_export.differentiate.rules import RULES
from salience_export.differentiate.step import NoRule, Step
from salience_export.differentiate.tape import Tape
from salience_export.graphs.flow import SHAPE_READERS, Flow, names_of, reads
from salience_export.graphs.normal import opset_of


@dataclass(frozen=True)
class Gradients:
    """What differentiation adds to a graph.

    Attributes:
        nodes: to be computed after the graph's own, in this order.
        weights: constants that they read.
        names: per tensor asked for, the tensor that holds its gradient, of its own shape.
    """

    nodes: tuple[onnx.NodeProto, ...]
    weights: tuple[onnx.TensorProto, ...]
    names: Mapping[str, str]


def differentiate(
    model: onnx.ModelProto, cotangents: Mapping[str, str], wanted: Sequence[str]
) -> Gradients:
    """The gradients of Σ cotangent · tensor, summed over the tensors given, in ONNX operators.

    Reverse mode: one rule per operator (`rules`), written in operators of the graph's own
    opset (17 or later). Where a function has a kink, its gradient there is torch's. Only
    nodes between the tensors asked for and the given ones are stepped through.

    Args:
        model: the graph; its first dimension of inputs is the batch.
        cotangents: tensor of the graph → name of a tensor of the same shape.
        wanted: tensors whose gradients are asked for.

    Raises:
        NoRule: an operator on the way has no rule; all such operators are named.
        ExportError: a tensor asked for has no part in the given ones.
    """
    return _Walk(model, cotangents, wanted).run()


class _Walk:
    def __init__(
        self, model: onnx.ModelProto, cotangents: Mapping[str, str], wanted: Sequence[str]
    ) -> None:
        self._flow = Flow(model)
        self._wanted = tuple(wanted)
        self._moving = self._flow.after(wanted) & self._flow.before(cotangents)
        self._tape = Tape(names_of(model.graph) | set(cotangents.values()))
        self._parts: dict[str, list[str]] = {end: [name] for end, name in cotangents.items()}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._opset = opset_of(model)

    def run(self) -> Gradients:
        nodes = [node for node in reversed(self._flow.nodes) if self._moves(node)]
        _require_rules(nodes)
        for node in nodes:
            self._step(node)
        names = {tensor: self._total(tensor) for tensor in self._wanted}
        for tensor, name in names.items():
            if name is None:
                raise NoRule(f"the outputs do not depend on {tensor!r}")
        return Gradients(
            tuple(self._tape.nodes),
            tuple(self._tape.weights),
            {tensor: name for tensor, name in names.items() if name is not None},
        )

    def _moves(self, node: onnx.NodeProto) -> bool:
        """Whether the node carries what is asked for to the ends."""
        return (
            node.op_type not in SHAPE_READERS
            and not self._moving.isdisjoint(node.output)
            and not self._moving.isdisjoint(reads(node))
        )

    def _step(self, node: onnx.NodeProto) -> None:
        cotangents = tuple(self._total(name) for name in node.output)
        if not any(cotangents):
            return
        wanted = frozenset(i for i, name in enumerate(node.input) if name in self._moving)
        step = Step(
            node,
            cotangents,
            wanted,
            self._tape,
            self._flow.shapes,
            self._weights,
            self._opset,
        )
        for position, gradient in RULES[node.op_type](step).items():
            self._parts.setdefault(node.input[position], []).append(gradient)

    def _total(self, tensor: str) -> str | None:
        """The cotangent of a tensor once all who use it have been stepped through."""
        parts = self._parts.get(tensor, [])
        if len(parts) > 1:
            total = parts[0]
            for part in parts[1:]:
                total = self._tape.emit("Add", total, part)
            self._parts[tensor] = parts = [total]
        return parts[0] if parts else None


def _require_rules(nodes: Sequence[onnx.NodeProto]) -> None:
    missing = sorted({node.op_type for node in nodes} - RULES.keys())
    if missing:
        raise NoRule(f"no gradient rule for {', '.join(missing)}")
