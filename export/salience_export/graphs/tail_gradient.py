"""The `tail_gradient` graph of a tap: the network from that tap on, and the way back to it."""

from collections.abc import Mapping

import onnx
from onnx import helper

from salience_export.differentiate import differentiate
from salience_export.graphs.flow import Flow, assemble, stand_aside
from salience_export.graphs.forward import declared
from salience_export.graphs.tail import live_tensors
from salience_export.source import SourceTap
from salience_service.bundle.tensors import COTANGENT, LOGITS, TAP, gradient_of


def build_tail_gradient(
    model: onnx.ModelProto, tap: SourceTap, names: Mapping[str, str]
) -> onnx.ModelProto:
    """The tail gradient graph of a tap, for whoever has run the network up to there already.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].
        tap: where it begins.
        names: of `output_names`, over the tap's live tensors.

    Returns:
        `tap` [N, C, h, w] or its tokens, each live tensor [N, …] under its forward name,
        `cotangent` [N, K] → `logits` [N, K] and `d_tap` = d Σ (cotangent · logits) / d tap.

    Raises:
        NoRule: an operator between tap and logits cannot be differentiated.
    """
    shapes = Flow(model).shapes
    entries = {tap.tensor: TAP} | {tensor: names[tensor] for tensor in live_tensors(model, tap)}
    shared, moved = stand_aside(model, {COTANGENT, gradient_of(TAP), *entries.values()})
    places = {tensor: moved.get(tensor, tensor) for tensor in entries}
    gradients = differentiate(shared, {LOGITS: COTANGENT}, [places[tap.tensor]])
    shared.graph.initializer.extend(gradients.weights)
    nodes = [
        *(_copy(name, places[tensor]) for tensor, name in entries.items()),
        *(node for node in shared.graph.node if set(places.values()).isdisjoint(node.output)),
        *gradients.nodes,
        _copy(gradients.names[places[tap.tensor]], gradient_of(TAP)),
    ]
    inputs = [declared(name, shapes[tensor], "N") for tensor, name in entries.items()]
    inputs.append(declared(COTANGENT, shapes[LOGITS], "N"))
    outputs = [
        declared(LOGITS, shapes[LOGITS], "N"),
        declared(gradient_of(TAP), shapes[tap.tensor], "N"),
    ]
    return assemble(shared, "tail_gradient", inputs, outputs, nodes)


def _copy(source: str, to: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [to])
