"""Bounds of an ONNX graph's tensors: what no image brings them to leave, told by operators."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from salience_export.graphs.flow import Flow

Bounds = tuple[float, float]
"""Least and greatest value; infinite where the operators tell none."""

Rule = Callable[[Sequence[Bounds]], Bounds]
"""The bounds of what an operator puts out, by those of its inputs."""

ANY: Bounds = (-math.inf, math.inf)


def bounds_of(flow: Flow) -> Mapping[str, Bounds]:
    """Bounds of the tensors that have any, by interval arithmetic.

    Followed are the operators that probabilities are written and averaged with; behind a
    convolution or a product of matrices there are none until an activation sets some.
    """
    weights = {tensor.name: tensor for tensor in flow.model.graph.initializer}
    found: dict[str, Bounds] = {}

    def bounds(name: str) -> Bounds:
        if name in weights and name not in found:
            found[name] = _of_weight(weights[name])
        return found.get(name, ANY)

    for node in flow.nodes:
        rule = _share if _is_share(node, flow, bounds) else _RULES.get(node.op_type)
        if rule is not None:
            given = [bounds(name) for name in node.input]
            found.update(dict.fromkeys(node.output, rule([*given, *_limits(node)])))
    return found


def _of_weight(tensor: onnx.TensorProto) -> Bounds:
    values = numpy_helper.to_array(tensor)
    if values.size == 0 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        return ANY
    return float(values.min()), float(values.max())


def _limits(node: onnx.NodeProto) -> list[Bounds]:
    """Those of a Clip as they stand before opset 11: attributes."""
    if node.op_type != "Clip" or len(node.input) > 1:
        return []
    stated = {each.name: each.f for each in node.attribute}
    limits = (stated.get("min", -math.inf), stated.get("max", math.inf))
    return [(limit, limit) for limit in limits]


def _is_share(node: onnx.NodeProto, flow: Flow, bounds: Callable[[str], Bounds]) -> bool:
    """Whether it divides what is never negative by a sum of it (and of more such)."""
    if node.op_type != "Div" or bounds(node.input[0])[0] < 0:
        return False
    whole = flow.producers.get(node.input[1])
    if whole is None or node.input[0] not in whole.input:
        return False
    if whole.op_type in ("Add", "Sum"):
        return all(bounds(name)[0] >= 0 for name in whole.input)
    return whole.op_type == "ReduceSum"


def _rising(function: Callable[[float], float]) -> Rule:
    """That of an operator which puts out more for more."""
    return lambda given: (function(given[0][0]), function(given[0][1]))


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _sum(given: Sequence[Bounds]) -> Bounds:
    return sum(low for low, _ in given), sum(high for _, high in given)


def _mean(given: Sequence[Bounds]) -> Bounds:
    low, high = _sum(given)
    return low / len(given), high / len(given)


def _negative(given: Sequence[Bounds]) -> Bounds:
    return -given[0][1], -given[0][0]


def _product(given: Sequence[Bounds]) -> Bounds:
    ends = [a * b if a and b else 0.0 for a in given[0] for b in given[1]]
    return min(ends), max(ends)


def _inverse(given: Sequence[Bounds]) -> Bounds:
    low, high = given[0]
    if low < 0:
        return ANY
    return 1 / high if high else math.inf, 1 / low if low else math.inf


def _either(given: Sequence[Bounds]) -> Bounds:
    return min(low for low, _ in given), max(high for _, high in given)


def _clipped(given: Sequence[Bounds]) -> Bounds:
    (low, high), (least, _), (_, most) = [*given, ANY, ANY][:3]
    return min(max(low, least), most), max(min(high, most), least)


def _share(_: Sequence[Bounds]) -> Bounds:
    return 0, 1


def _sign(_: Sequence[Bounds]) -> Bounds:
    return -1, 1


def _kept(given: Sequence[Bounds]) -> Bounds:
    """Of operators that arrange, pick or average what their first input holds."""
    return given[0]


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Sigmoid", "HardSigmoid", "Softmax"), _share),
    **dict.fromkeys(("Tanh", "Erf"), _sign),
    **dict.fromkeys(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"), _kept),
    **dict.fromkeys(("Transpose", "Expand", "Cast", "Slice", "Split", "Gather"), _kept),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _kept),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin"), _kept),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _kept),
    **dict.fromkeys(("Concat", "Max", "Min"), _either),
    "Where": lambda given: _either(given[1:]),
    "Add": _sum,
    "Sum": _sum,
    "Mean": _mean,
    "Sub": lambda given: _sum([given[0], _negative(given[1:])]),
    "Neg": _negative,
    "Mul": _product,
    "Div": lambda given: _product([given[0], _inverse(given[1:])]),
    "Reciprocal": _inverse,
    "Clip": _clipped,
    "Exp": _rising(_exp),
    "Log": _rising(_log),
    "Sqrt": _rising(lambda x: math.sqrt(max(x, 0))),
    "Relu": _rising(lambda x: max(x, 0)),
    "Softplus": lambda _: (0, math.inf),
    "LogSoftmax": lambda _: (-math.inf, 0),
}
"""What is not here tells nothing; Max and Min lie within the ends of all their inputs."""
