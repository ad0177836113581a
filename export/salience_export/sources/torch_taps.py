"""The taps of a torch network: module calls and the graph's tensors, matched to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from torch import Tensor, nn

from salience_export.differentiate import differentiate
from salience_export.differentiate.step import NoRule
from salience_export.errors import ExportError
from salience_export.graphs.batch import settle_shapes
from salience_export.graphs.taps import choose_taps, tap_of
from salience_export.source import FloatArray, SourceTap
from salience_export.sources.runtime import Run
from salience_export.sources.torch_calls import map_makers
from salience_export.sources.torch_trace import output_of
from salience_service.bundle.tensors import COTANGENT, IMAGES, LOGITS

SAME_TENSOR = 1e-4
"""A graph's tensor is a module's output where they differ by at most this share."""


def named_taps(model: onnx.ModelProto, wanted: Sequence[str]) -> tuple[SourceTap, ...]:
    """The taps asked for, in the order the graph computes them; `logits` stays the one output."""
    tensors = {call: _origin(model, output_of(number)) for number, call in enumerate(wanted)}
    for output in list(model.graph.output)[1:]:
        model.graph.output.remove(output)
        if output.name in tensors.values():
            model.graph.value_info.append(output)
    _check_apart(tensors)
    return _in_order(model, [tap_of(model, tensors[call], call) for call in wanted])


def _check_apart(tensors: Mapping[str, str]) -> None:
    calls = {tensor: call for call, tensor in tensors.items()}
    for call, tensor in tensors.items():
        if calls[tensor] != call:
            raise ExportError(f"taps {call!r} and {calls[tensor]!r} are one tensor: name one")


def _origin(model: onnx.ModelProto, tensor: str) -> str:
    """The tensor behind copies: two outputs that are one tensor are told apart by Identity."""
    producers = {name: node for node in model.graph.node for name in node.output}
    while (node := producers.get(tensor)) is not None and node.op_type == "Identity":
        tensor = node.input[0]
    return tensor


def _in_order(model: onnx.ModelProto, taps: Sequence[SourceTap]) -> tuple[SourceTap, ...]:
    place = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    return tuple(sorted(taps, key=lambda tap: place[tap.tensor]))


def chosen_taps(
    model: onnx.ModelProto, network: nn.Module, images: Tensor
) -> tuple[SourceTap, ...]:
    """The graph's own taps, each under the name of the module call that puts it out, if any.

    Where only torch has gradients, they are chosen among what modules put out: it has none to
    the rest.
    """
    classes = int(model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
    calls = map_makers(network, images)

    def makers(maps: Sequence[str]) -> list[str | None]:
        return [_call_of(each, calls) for each in Run(model, maps)(images.numpy())]

    def named(taps: Sequence[SourceTap]) -> tuple[SourceTap, ...]:
        names = makers([tap.tensor for tap in taps])
        return tuple(
            replace(tap, name=name or tap.tensor) for tap, name in zip(taps, names, strict=True)
        )

    def made(maps: Sequence[str]) -> list[str]:
        return [name for name, maker in zip(maps, makers(maps), strict=True) if maker]

    taps = choose_taps(model, classes, named)
    tensors = [tap.tensor for tap in taps]
    if made(tensors) == tensors or _has_gradients(model, tensors):
        return taps
    return choose_taps(model, classes, named, made)


def _has_gradients(model: onnx.ModelProto, tensors: Sequence[str]) -> bool:
    """Whether the bundle will have gradient graphs."""
    try:
        differentiate(settle_shapes(model), {LOGITS: COTANGENT}, [IMAGES, *tensors])
    except NoRule:
        return False
    return True


def _call_of(tensor: FloatArray, calls: dict[str, Tensor]) -> str | None:
    """The call that puts the tensor out; modules called once go first, then the innermost."""
    alike = [name for name, output in calls.items() if _same(tensor, output.numpy())]
    return min(alike, key=lambda name: ("#" in name, -name.count("."), len(name)), default=None)


def _same(tensor: FloatArray, output: FloatArray) -> bool:
    if tensor.shape != output.shape:
        return False
    return bool(np.abs(tensor - output).max() <= SAME_TENSOR * np.abs(output).max())
