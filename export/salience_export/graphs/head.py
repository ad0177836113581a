"""The end of a network: the softmax or sigmoid is cut off, so that `logits` [N, K] comes out."""

import math
import re
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from salience_export.errors import ExportError
from salience_export.graphs.bounds import ANY, bounds_of
from salience_export.graphs.flow import Flow, assemble, names_of, stand_aside, subgraphs, unused
from salience_export.graphs.shapes import Shape
from salience_service.bundle.manifest import OutputKind
from salience_service.bundle.tensors import LOGITS

_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
_CUT = {
    OutputKind.SOFTMAX: _SOFTMAX,
    OutputKind.LOG_PROBABILITY: _SOFTMAX,
    OutputKind.SIGMOID: frozenset({"Sigmoid"}),
    OutputKind.REGRESSION: frozenset[str](),
}
"""Per declared meaning, the operators that turn logits into it."""

_NO_LOGITS = {
    OutputKind.SOFTMAX: _SOFTMAX,
    OutputKind.LOG_PROBABILITY: frozenset({"Softmax"}),
    OutputKind.SIGMOID: _SOFTMAX | {"Sigmoid", "HardSigmoid"},
    OutputKind.REGRESSION: frozenset[str](),
}
"""Per declared meaning, the operators whose results are never the logits of it."""

_WRITTEN_WITH = frozenset({"Div", "Mul", "Exp"})
"""The last operators of a softmax where it is written in several."""

_INTEGER = re.compile("QLinear|QGemm|QAttention|DynamicQuantize|(Conv|MatMul)Integer")
"""How operators are called that compute in eight bits, ONNX's own and ONNX Runtime's."""

_RESHAPING = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"})
_REWRITING = _RESHAPING | {"Transpose", "Cast", "QuantizeLinear", "DequantizeLinear"}
"""What arranges numbers, or writes them in another type."""

_CARRYING = _REWRITING | {"Slice", "Split", "Gather", "Concat"}
"""That, and what picks some numbers or joins them."""


@dataclass(frozen=True)
class End:
    """Where a network's logits are.

    Attributes:
        tensor: holds one row of K numbers an image, perhaps as [N, K, 1, 1].
        classes: K.
        output: the file's own output.
        cut: the operator between the two, "" where there is none.
    """

    tensor: str
    classes: int
    output: str
    cut: str


def find_end(model: onnx.ModelProto, declared: OutputKind) -> End:
    """The end of the network, before its softmax or sigmoid.

    Raises:
        ExportError: not one row of numbers an image, several outputs that could be it, or
            a last operator that contradicts what is declared.
    """
    flow = Flow(model)
    _check_float(flow)
    output = _only_output(flow)
    contradicting = _makers(flow, output) & ((_SOFTMAX | {"Sigmoid"}) - _CUT[declared])
    if declared is not OutputKind.REGRESSION and contradicting:
        raise ExportError(
            f"the network ends in {', '.join(sorted(contradicting))},"
            f" but its output is declared {declared.value}"
        )
    node = flow.producers.get(_behind(flow, output))
    last = node.op_type if node is not None else ""
    if node is not None and last in _CUT[declared]:
        tensor = node.input[0]
        return End(tensor, _width(flow, tensor, output), output, last)
    tensor = _unreshaped(flow, output)
    return End(tensor, _width(flow, tensor, output), output, "")


def cut_at(model: onnx.ModelProto, end: End) -> onnx.ModelProto:
    """A copy that puts out the end's tensor and nothing else."""
    output = helper.make_empty_tensor_value_info(end.tensor)
    output.type.tensor_type.elem_type = TensorProto.FLOAT
    return assemble(model, "network", model.graph.input, [output], model.graph.node)


def put_out_logits(model: onnx.ModelProto, end: End, from_probabilities: bool) -> onnx.ModelProto:
    """A copy with the one output `logits` [N, K].

    Args:
        model: cut at its end, opset 17 or later.
        end: where its logits are.
        from_probabilities: whether they are probabilities; then log(max(p, tiny)) is put out,
            tiny being float32's least normal number.
    """
    shape = Flow(model).shapes.get(end.tensor)
    is_plain = shape is not None and len(shape.dimensions) == 2
    if end.tensor == LOGITS and is_plain and not from_probabilities:
        result, nodes = model, list(model.graph.node)
    else:
        result, moved = stand_aside(model, {LOGITS})
        nodes = [*result.graph.node]
        tensor = moved.get(end.tensor, end.tensor)
        steps = _logarithm(result, tensor) if from_probabilities else []
        nodes += steps
        last = steps[-1].output[0] if steps else tensor
        nodes.append(helper.make_node("Flatten", [last], [LOGITS], axis=1))
    outputs = [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", end.classes])]
    return assemble(result, "network", result.graph.input, outputs, nodes)


def no_logits_at(model: onnx.ModelProto, tensor: str, declared: OutputKind) -> frozenset[str]:
    """Operators whose results the tensor carries, where those are no logits of what is declared.

    A tensor carries results that are arranged, joined or written in another type on the way.
    """
    return _makers(Flow(model), tensor) & _NO_LOGITS[declared]


def is_log_softmax(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether the tensor carries all that one LogSoftmax makes: log p are logits of p."""
    return _makers(Flow(model), tensor, _REWRITING) == {"LogSoftmax"}


def is_written_out(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether the tensor carries what operators make that a softmax is written with."""
    return not _WRITTEN_WITH.isdisjoint(_makers(Flow(model), tensor))


def is_held_above_zero(model: onnx.ModelProto, tensor: str, declared: OutputKind) -> bool:
    """Whether operators hold the tensor between 0 and a greatest value, though logits are not.

    So they do with probabilities, while logits of a sigmoid above 0 would say one half or more,
    and log-probabilities are never above it. A Relu's results have no greatest value: they are
    let be, and so are logits of a softmax, which may lie anywhere.
    """
    if declared not in (OutputKind.SIGMOID, OutputKind.LOG_PROBABILITY):
        return False
    low, high = bounds_of(Flow(model)).get(tensor, ANY)
    return low >= 0 and high < math.inf


def _makers(flow: Flow, tensor: str, carrying: frozenset[str] = _CARRYING) -> frozenset[str]:
    """The operators whose results the tensor carries, through those that carry."""
    waiting, seen, found = [tensor], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        node = flow.producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in carrying:
            waiting += node.input if node.op_type == "Concat" else node.input[:1]
        else:
            found.add(node.op_type)
    return frozenset(found)


def _logarithm(model: onnx.ModelProto, tensor: str) -> list[onnx.NodeProto]:
    """Nodes that put out log(max(tensor, tiny)); `tiny` is added to the model in place."""
    used = names_of(model.graph)
    tiny, held, log = (unused(f"{LOGITS}/{name}", used) for name in ("tiny", "held", "log"))
    least = np.full((), np.finfo(np.float32).tiny, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(least, tiny))
    return [
        helper.make_node("Max", [tensor, tiny], [held]),
        helper.make_node("Log", [held], [log]),
    ]


def _check_float(flow: Flow) -> None:
    found = sorted({node.op_type for node in flow.nodes if _INTEGER.match(node.op_type)})
    if found:
        raise ExportError(
            f"the model is quantised ({', '.join(found)} compute in eight bits):"
            " export the float32 model"
        )


def _only_output(flow: Flow) -> str:
    names = [value.name for value in flow.model.graph.output]
    if len(names) == 1:
        return names[0]
    fitting = [name for name in names if _classes(flow.shapes.get(name)) is not None]
    if len(fitting) != 1:
        listed = ", ".join(repr(name) for name in names)
        raise ExportError(
            f"the file has outputs {listed}, and not exactly one is [N, K];"
            " leave only the classifier's output in the file"
        )
    return fitting[0]


def _behind(flow: Flow, tensor: str) -> str:
    """The tensor that only reshaping stands between and this one."""
    node = flow.producers.get(tensor)
    while node is not None and node.op_type in _RESHAPING and node.input[0] in flow.producers:
        tensor = node.input[0]
        node = flow.producers.get(tensor)
    return tensor


def _unreshaped(flow: Flow, output: str) -> str:
    """The output or, where it is no row an image, the nearest tensor before it that is."""
    tensor, node = output, flow.producers.get(output)
    while _classes(flow.shapes.get(tensor)) is None:
        if node is None or node.op_type not in _RESHAPING:
            return output
        tensor = node.input[0]
        node = flow.producers.get(tensor)
    return tensor


def _width(flow: Flow, tensor: str, output: str) -> int:
    """K of a tensor that holds a row of numbers an image."""
    shape = flow.shapes.get(tensor)
    if shape is None:
        raise ExportError(_shapeless(flow, output))
    classes = _classes(shape)
    if classes is None:
        sizes = ["N" if size is None else size for size in shape.dimensions]
        raise ExportError(
            f"output {output!r} has shape {sizes}, not [N, K] with a free N;"
            " a classifier puts out one row an image"
        )
    if shape.element != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(shape.element).lower()
        raise ExportError(f"output {output!r} is {kind}: export the model in float32")
    return classes


def _shapeless(flow: Flow, output: str) -> str:
    """Why an output's shape is unknown: the first operator before it that hides its own."""
    behind = flow.before([output])
    node, tensor = next(
        (node, name)
        for node in flow.nodes
        for name in node.output
        if name in behind and name not in flow.shapes
    )
    foreign = node.domain or any(subgraphs(node))
    remedy = f"without {node.op_type}" if foreign else "with a free batch and shapes it states"
    return (
        f"output {output!r} has no shape that can be told, since that of {tensor!r}, which a"
        f" {node.op_type} makes, is unknown; export the model {remedy}"
    )


def _classes(shape: Shape | None) -> int | None:
    """K of [N, K] or [N, K, 1, …], else None."""
    if shape is None or not shape.is_row or len(shape.dimensions) < 2:
        return None
    return shape.per_image[0] if set(shape.per_image[1:]) <= {1} else None
