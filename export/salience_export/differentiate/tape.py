"""The tape: nodes and constants that a gradient adds to a graph, under names that are free."""

from collections.abc import Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Attribute = int | float | str | list[int]


class Tape:
    """Collects nodes in the order they are computed.

    Attributes:
        nodes: written so far.
        weights: constants that they read, equal ones once.

    Args:
        used: names that the graph has already.
    """

    def __init__(self, used: Collection[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._used = set(used)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def emit(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Writes a node of one output; returns the output's name."""
        (output,) = self.emit_several(operator, 1, *inputs, **attributes)
        return output

    def emit_several(
        self, operator: str, outputs: int, *inputs: str, **attributes: Attribute
    ) -> list[str]:
        """Writes a node of some outputs; returns their names."""
        names = [self._free(f"gradient/{operator}") for _ in range(outputs)]
        node = helper.make_node(operator, inputs, names, None, None, None, None, **attributes)
        self.nodes.append(node)
        return names

    def constant(self, values: NDArray[np.generic]) -> str:
        """A constant's name."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = name = self._free("gradient/constant")
            self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """An int64 vector, as shapes and axes are given."""
        return self.constant(np.array(values, np.int64))

    def _free(self, stem: str) -> str:
        number = len(self.nodes) + len(self.weights)
        while (name := f"{stem}_{number}") in self._used:
            number += 1
        self._used.add(name)
        return name
