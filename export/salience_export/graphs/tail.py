"""The `tail` graph of a tap: the network from that tap on, with some of its channels kept."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from salience_export.errors import ExportError
from salience_export.graphs.flow import Flow, assemble, reads, stand_aside
from salience_export.graphs.forward import declared
from salience_export.source import SourceTap
from salience_service.bundle.manifest import TokenLayout
from salience_service.bundle.tensors import IMAGE_OF, KEEP, LOGITS, TAP

_OWN = (TAP, IMAGE_OF, KEEP, "keep_", "whole", "map_axes")
"""Names of the tail's inputs and of what it adds."""


def live_tensors(model: onnx.ModelProto, tap: SourceTap) -> tuple[str, ...]:
    """The other tensors that the network after a tap needs: skips around it, in order.

    Raises:
        ExportError: the logits do not depend on the tap, or a skip is not one row an image.
    """
    flow = Flow(model)
    changed = flow.after([tap.tensor])
    if LOGITS not in changed:
        raise ExportError(f"the logits do not depend on tap {tap.name!r}; take another")
    crossing = _crossing(flow, changed, tap.tensor)
    order = [value.name for value in model.graph.input]
    order += [name for node in flow.nodes for name in node.output]
    live = tuple(name for name in order if name in crossing)
    for tensor in live:
        if tensor not in flow.shapes or not flow.shapes[tensor].is_row:
            raise ExportError(
                f"around tap {tap.name!r} goes {tensor!r}, which is not one row an image;"
                " take another tap; of an ensemble, whose answer goes through no single tap, export"
                " each network by itself"
            )
    return live


def build_tail(model: onnx.ModelProto, tap: SourceTap, names: Mapping[str, str]) -> onnx.ModelProto:
    """The tail graph of a tap.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].
        tap: where the tail begins.
        names: of `output_names`, over the tap's live tensors.

    Returns:
        `tap` [R, C, h, w] or its tokens, each live tensor [R, …] under its forward name, `image_of`
        int64 [N], `keep` float32 [N, C] → `logits` [N, K]. Channel c of row n is
        keep[n, c] · tap[image_of[n], c].
    """
    flow = Flow(model)
    entries = {tensor: names[tensor] for tensor in live_tensors(model, tap)}
    shared, moved = stand_aside(model, {*_OWN, *entries.values()})
    places = {tensor: moved.get(tensor, tensor) for tensor in (tap.tensor, *entries)}
    axes = [2, 3] if tap.layout is TokenLayout.SPATIAL else [1]
    shared.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(axes, np.int64), "map_axes")
    )
    nodes = _channels_kept(places[tap.tensor])
    nodes += [
        helper.make_node("Gather", [name, IMAGE_OF], [places[tensor]], axis=0)
        for tensor, name in entries.items()
    ]
    nodes += [n for n in shared.graph.node if set(places.values()).isdisjoint(n.output)]
    inputs = [declared(TAP, flow.shapes[tap.tensor], "R")]
    inputs += [declared(name, flow.shapes[tensor], "R") for tensor, name in entries.items()]
    inputs += [
        helper.make_tensor_value_info(IMAGE_OF, TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info(KEEP, TensorProto.FLOAT, ["N", tap.channels]),
    ]
    outputs = [declared(LOGITS, flow.shapes[LOGITS], "N")]
    return assemble(shared, "tail", inputs, outputs, nodes)


def _channels_kept(tensor: str) -> list[onnx.NodeProto]:
    """`tensor` [N, C, h, w]: the tap of each row's image, times its `keep`."""
    return [
        helper.make_node("Gather", [TAP, IMAGE_OF], ["whole"], axis=0),
        helper.make_node("Unsqueeze", [KEEP, "map_axes"], ["keep_"]),
        helper.make_node("Mul", ["whole", "keep_"], [tensor]),
    ]


def _crossing(flow: Flow, changed: set[str], tap: str) -> set[str]:
    """Tensors that do not depend on the tap, but from which the network after it reads."""
    found: set[str] = set()
    needed = {LOGITS}
    for node in reversed(flow.nodes):
        if needed.isdisjoint(node.output) or tap in node.output:
            continue
        for name in reads(node):
            if name in flow.rows and name not in changed:
                found.add(name)
            else:
                needed.add(name)
    return found
