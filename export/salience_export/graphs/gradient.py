"""The `gradient` graph: images and cotangents in; logits, gradients to images and taps out."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from salience_export.differentiate import differentiate
from salience_export.graphs.flow import Flow, assemble, stand_aside
from salience_export.graphs.forward import declared
from salience_export.source import SourceTap
from salience_service.bundle.tensors import COTANGENT, IMAGES, LOGITS, gradient_of


def build_gradient(
    model: onnx.ModelProto, taps: Sequence[SourceTap], names: Mapping[str, str]
) -> onnx.ModelProto:
    """The gradient graph of a source.

    Each gradient is d Σ (cotangent · logits) / d tensor, so that a row of the batch is the
    gradient of its own image. Where only some are fetched, a runtime can leave out the
    nodes that the others need: the way back ends at the first tap fetched.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].
        taps: at least one.
        names: of `output_names`.

    Returns:
        `images`, `cotangent` [N, K] → `logits`, `d_images` [N, C, H, W] and, per tap
        tensor, `d_` and its forward output's name, of the tap's shape.

    Raises:
        NoRule: an operator between images and logits cannot be differentiated.
    """
    shapes = Flow(model).shapes
    ends = {IMAGES: gradient_of(IMAGES)}
    ends |= {tap.tensor: gradient_of(names[tap.tensor]) for tap in taps}
    shared, moved = stand_aside(model, {COTANGENT, *ends.values()})
    places = {tensor: moved.get(tensor, tensor) for tensor in ends}
    gradients = differentiate(shared, {LOGITS: COTANGENT}, list(places.values()))
    shared.graph.initializer.extend(gradients.weights)
    copies = [
        helper.make_node("Identity", [gradients.names[places[tensor]]], [name])
        for tensor, name in ends.items()
    ]
    inputs = [declared(IMAGES, shapes[IMAGES], "N"), declared(COTANGENT, shapes[LOGITS], "N")]
    outputs = [declared(LOGITS, shapes[LOGITS], "N")]
    outputs += [declared(name, shapes[tensor], "N") for tensor, name in ends.items()]
    nodes = [*shared.graph.node, *gradients.nodes, *copies]
    return assemble(shared, "gradient", inputs, outputs, nodes)
