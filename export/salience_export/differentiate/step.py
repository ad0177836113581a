"""A step back: one operator's node as its rule sees it, with the cotangents of what it made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from salience_export.differentiate.tape import Attribute, Tape
from salience_export.errors import ExportError
from salience_export.graphs.shapes import Shape


class NoRule(ExportError):
    """A node cannot be differentiated; the message names the operator and what about it."""


@dataclass(frozen=True)
class Step:
    """What a rule is given, and the means to write the gradient.

    Attributes:
        node: the node that is stepped back through.
        cotangents: per output, the name of its cotangent (its own shape), None where
            nothing that is asked for depends on that output.
        wanted: positions of the inputs whose cotangents are needed; the rule gives no others.
        tape: takes the nodes written.
        shapes: of all tensors of the graph, as far as they are known.
        weights: constants of the graph by name.
        opset: version of ONNX's operators in the graph.
    """

    node: onnx.NodeProto
    cotangents: tuple[str | None, ...]
    wanted: frozenset[int]
    tape: Tape
    shapes: Mapping[str, Shape]
    weights: Mapping[str, onnx.TensorProto]
    opset: int

    @property
    def cotangent(self) -> str:
        """The cotangent of the first output, for operators that make one tensor."""
        if self.cotangents[0] is None or any(self.cotangents[1:]):
            raise self.refused("a further output that is used")
        return self.cotangents[0]

    @property
    def output(self) -> str:
        """The first output's name."""
        return self.node.output[0]

    def input(self, position: int) -> str:
        """An input's name; "" where it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def emit(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Writes a node of one output; returns the output's name."""
        return self.tape.emit(operator, *inputs, **attributes)

    def number(self, value: float) -> str:
        """A scalar constant of the element type of the node's first output."""
        return self.tape.constant(np.array(value, self.dtype))

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Element type of the node's first output, a real one."""
        return helper.tensor_dtype_to_np_dtype(self.shape(self.output).element)

    def shape(self, name: str) -> Shape:
        """A tensor's shape.

        Raises:
            NoRule: shape inference cannot tell it.
        """
        if name in self.weights:
            return Shape(self.weights[name].data_type, tuple(self.weights[name].dims))
        if name not in self.shapes:
            raise self.refused("a tensor of unknown shape")
        return self.shapes[name]

    def sizes(self, name: str) -> tuple[int | None, ...]:
        """A tensor's dimensions; None where a size counts images."""
        return self.shape(name).dimensions

    def attribute(self, name: str, default: Attribute) -> Attribute:
        """An attribute of the node, or its default."""
        for each in self.node.attribute:
            if each.name == name:
                value = helper.get_attribute_value(each)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attribute(name, default)
        assert isinstance(value, int)
        return value

    def real(self, name: str, default: float) -> float:
        """A real attribute."""
        value = self.attribute(name, default)
        assert isinstance(value, int | float)
        return float(value)

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """An attribute that lists integers."""
        value = self.attribute(name, list(default))
        assert not isinstance(value, int | float | str)
        return list(value)

    def constant(self, position: int) -> NDArray[np.generic]:
        """The numbers of an input that is a constant of the graph.

        Raises:
            NoRule: the input is computed, left out, or lies in the file of the weights.
        """
        name = self.input(position)
        if name not in self.weights:
            raise self.refused(f"input {position} that is no constant")
        if self.weights[name].data_location == TensorProto.EXTERNAL:
            raise self.refused(f"input {position} that is as large as weights are")
        return numpy_helper.to_array(self.weights[name])

    def axes(self, position: int) -> list[int] | None:
        """Axes given as an attribute or, in later opsets, as an input; None where not given."""
        if self.input(position):
            return [int(axis) for axis in self.constant(position).reshape(-1)]
        return self.integers("axes", ()) or None

    def like(self, gradient: str, name: str) -> str:
        """A cotangent brought to the shape of a tensor that was broadcast: sums of its copies."""
        return unbroadcast(self, gradient, self.sizes(self.output), name)

    def reshaped(self, gradient: str, name: str) -> str:
        """A cotangent of as many numbers in the shape of a tensor."""
        sizes = self.sizes(name)
        if sizes.count(None) <= 1:
            stated = (-1 if size is None else size for size in sizes)
            return self.emit("Reshape", gradient, self.tape.integers(*stated))
        return self.emit("Reshape", gradient, self.emit("Shape", name))

    def refused(self, what: str) -> NoRule:
        """The refusal of a node for something about it."""
        return NoRule(f"operator {self.node.op_type} with {what} has no gradient here")


Rule = Callable[[Step], Mapping[int, str]]
"""Writes the cotangents of a node's wanted inputs: input position → name."""


def unbroadcast(step: Step, gradient: str, sizes: tuple[int | None, ...], name: str) -> str:
    """Sums a cotangent of these sizes over what a tensor was repeated along."""
    own = step.sizes(name)
    added = len(sizes) - len(own)
    repeated = [
        axis
        for axis, size in enumerate(sizes)
        if axis < added or (own[axis - added] == 1 and size != 1)
    ]
    if not repeated:
        return gradient
    total = step.emit("ReduceSum", gradient, step.tape.integers(*repeated), keepdims=1)
    return step.reshaped(total, name) if added else total
