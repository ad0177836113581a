"""The `masked_gradient` graph: the masked graph, and the way back from its logits to its maps."""

import onnx

from salience_export.differentiate import differentiate
from salience_export.graphs.flow import Flow, assemble, stand_aside
from salience_export.graphs.forward import declared
from salience_export.graphs.masked import INPUTS, composition, constants, inputs, made_by, node
from salience_export.graphs.normal import opset_of
from salience_service.bundle.tensors import (
    COLUMNS,
    COTANGENT,
    IMAGES,
    LOGITS,
    MAPS,
    ROWS,
    gradient_of,
)


def build_masked_gradient(model: onnx.ModelProto) -> onnx.ModelProto:
    """The masked gradient graph of a source.

    The network is differentiated by rules; from its images back to the maps the gradient
    is written down, as g, the gradient to n · scale, meets up. Where a map is normalised,
    m = (up − low) / span, and its extremes depend on it too:

        d up = g + [up = low] / #low · Σ g (m − 1) − [up = high] / #high · Σ g m

    evenly among equal extremes, as torch's amin and amax have it. A flat map is masked by
    zeros, which no small change of it changes: its gradient is zeros. That a map is first
    lowered by its own minimum adds nothing, since d up then sums to zero.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].

    Returns:
        The inputs of the masked graph and `cotangent` [N, K] → `logits` [N, K] and
        `d_maps` [N, h, w] = d Σ (cotangent · logits) / d maps.

    Raises:
        NoRule: an operator between images and logits cannot be differentiated.
    """
    shapes = Flow(model).shapes
    before = composition(opset_of(model))
    taken = {*INPUTS, COTANGENT, *made_by([*before, *_way_back(IMAGES)])}
    shared, _ = stand_aside(model, taken)
    gradients = differentiate(shared, {LOGITS: COTANGENT}, [IMAGES])
    shared.graph.initializer.extend([*constants(), *gradients.weights])
    after = _way_back(gradients.names[IMAGES])
    nodes = [*before, *shared.graph.node, *gradients.nodes, *after]
    taken_in = [*inputs(shapes[IMAGES]), declared(COTANGENT, shapes[LOGITS], "N")]
    outputs = [
        declared(LOGITS, shapes[LOGITS], "N"),
        onnx.helper.make_tensor_value_info(
            gradient_of(MAPS), shapes[LOGITS].element, ["N", "h", "w"]
        ),
    ]
    return assemble(shared, "masked_gradient", taken_in, outputs, nodes)


def _way_back(d_images: str) -> list[onnx.NodeProto]:
    """The nodes from the gradient to the images back to `d_maps`."""
    return [*_to_up(d_images), *_extremes(), *_to_maps()]


def _to_up(d_images: str) -> list[onnx.NodeProto]:
    """`g` [N, H, W]: the gradient to up, its extremes held."""
    return [
        node("Mul", d_images, "difference", to="d_shown"),
        node("ReduceSum", "d_shown", "channel_axis", to="d_mask", keepdims=0),
        node("Mul", "d_mask", "factor", to="g"),
    ]


def _extremes() -> list[onnx.NodeProto]:
    """`d_low` and `d_high` [N, H, W]: what goes to up by its extremes, where normalised.

    Up is never below low, so that 1 − sign(up − low) is 1 where they are equal and 0
    elsewhere: an indicator without a comparison, a cast and a choice.
    """
    return [
        node("ReduceSum", "g", "map_axes", to="g_sum", keepdims=1),
        node("Mul", "g", "up", to="g_up"),
        node("ReduceSum", "g_up", "map_axes", to="g_up_sum", keepdims=1),
        node("Mul", "low", "g_sum", to="g_low"),
        node("Sub", "g_up_sum", "g_low", to="g_above"),
        node("Div", "g_above", "divisor", to="g_m"),
        node("Where", "normalise_", "g_m", "zero", to="by_high"),
        node("Sub", "g_m", "g_sum", to="g_m_less_one"),
        node("Where", "normalise_", "g_m_less_one", "zero", to="by_low"),
        *_shared("by_low", "up", "low", to="d_low"),
        *_shared("by_high", "high", "up", to="d_high"),
    ]


def _shared(amount: str, greater: str, less: str, to: str) -> list[onnx.NodeProto]:
    """The amount [N, 1, 1] shared among the pixels where the two are equal."""
    return [
        node("Sub", greater, less, to=f"{to}/apart"),
        node("Sign", f"{to}/apart", to=f"{to}/differs"),
        node("Sub", "one", f"{to}/differs", to=f"{to}/equals"),
        node("ReduceSum", f"{to}/equals", "map_axes", to=f"{to}/count", keepdims=1),
        node("Div", amount, f"{to}/count", to=f"{to}/each"),
        node("Mul", f"{to}/equals", f"{to}/each", to=to),
    ]


def _to_maps() -> list[onnx.NodeProto]:
    """`d_maps` [N, h, w] = rowsᵀ · d up · columns."""
    return [
        node("Add", "g", "d_low", to="g_and_low"),
        node("Sub", "g_and_low", "d_high", to="d_up"),
        node("Transpose", ROWS, to="rows_t", perm=[1, 0]),
        node("MatMul", "rows_t", "d_up", to="d_tall"),
        node("MatMul", "d_tall", COLUMNS, to=gradient_of(MAPS)),
    ]
