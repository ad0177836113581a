"""The `masked` graph: images composed with small maps in, logits out; a row is a map.

It is made for speed: over the pixels of a mask there are two passes (one multiplication,
one addition), over those of a row two more, and two gathers where rows have images of their own.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from salience_export.graphs.flow import Flow, assemble, stand_aside
from salience_export.graphs.forward import declared
from salience_export.graphs.normal import opset_of
from salience_export.graphs.shapes import Shape
from salience_service.bundle.tensors import (
    COLUMNS,
    DIFFERENCES,
    FILLS,
    IMAGE_OF,
    IMAGES,
    LOGITS,
    MAPS,
    NORMALISE,
    ROWS,
    SCALE,
    SHIFT,
)
from salience_service.interpolation import FLAT

INPUTS = (
    DIFFERENCES, FILLS, IMAGE_OF, MAPS, ROWS, COLUMNS, NORMALISE, SCALE, SHIFT
)  # fmt: skip

_AXES_AS_INPUT = 18
"""The opset from which on ReduceMin and ReduceMax take their axes as an input."""


def build_masked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The masked graph of a source.

    up = rows · map · columnsᵀ; where `normalise`, (up − min) / (max − min), a flat map
    (range ≤ FLAT · largest absolute value) giving zeros; mask = scale · up + shift;
    row = fills[image_of] + mask · differences[image_of].

    A map that is normalised is first lowered by its own minimum, while it is small. This
    changes nothing (interpolation weights sum to 1) but that (up − min) / (max − min) can
    then be one multiplication and one addition a pixel without loss of digits.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].

    Returns:
        `differences` (image − fill) [R, C, H, W], `fills` [R, C, H, W], `image_of` int64 [S],
        S = N, or 1 where all rows have one image: it is then not copied for every row;
        `maps` [N, h, w], `rows` [H, h], `columns` [W, w], `normalise` bool [N],
        `scale` [N], `shift` [N] → `logits` [N, K].
    """
    shapes = Flow(model).shapes
    made = made_by(composition(opset_of(model)))
    shared, _ = stand_aside(model, {*INPUTS, *made})
    shared.graph.initializer.extend(constants())
    outputs = [declared(LOGITS, shapes[LOGITS], "N")]
    nodes = [*composition(opset_of(model)), *shared.graph.node]
    return assemble(shared, "masked", inputs(shapes[IMAGES]), outputs, nodes)


def composition(opset: int) -> list[onnx.NodeProto]:
    """The nodes from the inputs to `images` [N, C, H, W], in operators of this opset."""
    return _for_opset([*_upsampling(), *_factors(), *_rows()], opset)


def made_by(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The names that a source's own tensors must not bear beside these nodes."""
    made = {name for each in nodes for name in each.output}
    return (made | {tensor.name for tensor in constants()}) - {IMAGES}


def inputs(images: Shape) -> list[onnx.ValueInfoProto]:
    """The inputs of `INPUTS`, for images of this shape."""
    _, height, width = images.per_image
    sizes: dict[str, tuple[int, list[str | int]]] = {
        IMAGE_OF: (TensorProto.INT64, ["S"]),
        MAPS: (TensorProto.FLOAT, ["N", "h", "w"]),
        ROWS: (TensorProto.FLOAT, [height, "h"]),
        COLUMNS: (TensorProto.FLOAT, [width, "w"]),
        NORMALISE: (TensorProto.BOOL, ["N"]),
        SCALE: (TensorProto.FLOAT, ["N"]),
        SHIFT: (TensorProto.FLOAT, ["N"]),
    }
    return [declared(DIFFERENCES, images, "R"), declared(FILLS, images, "R")] + [
        helper.make_tensor_value_info(name, element, size)
        for name, (element, size) in sizes.items()
    ]


def _for_opset(nodes: list[onnx.NodeProto], opset: int) -> list[onnx.NodeProto]:
    """The nodes as the opset writes them: reductions took their axes as an attribute once."""
    for each in nodes:
        if each.op_type in ("ReduceMin", "ReduceMax") and opset >= _AXES_AS_INPUT:
            each.ClearField("attribute")
            each.attribute.append(helper.make_attribute("keepdims", 1))
            each.input.append("map_axes")
    return nodes


def _upsampling() -> list[onnx.NodeProto]:
    """`up` [N, H, W] of the map less `lowered_by` [N, 1, 1] (0 where not normalised)."""
    return [
        node("Unsqueeze", NORMALISE, "map_axes", to="normalise_"),
        node("ReduceMin", MAPS, to="map_low", axes=[1, 2]),
        node("Where", "normalise_", "map_low", "zero", to="lowered_by"),
        node("Sub", MAPS, "lowered_by", to="lowered"),
        node("MatMul", ROWS, "lowered", to="tall"),
        node("Transpose", COLUMNS, to="columns_t", perm=[1, 0]),
        node("MatMul", "tall", "columns_t", to="up"),
    ]


def _factors() -> list[onnx.NodeProto]:
    """`factor` and `offset` [N, 1, 1]: mask = factor · up + offset."""
    return [
        node("ReduceMin", "up", to="low", axes=[1, 2]),
        node("ReduceMax", "up", to="high", axes=[1, 2]),
        node("Sub", "high", "low", to="span"),
        node("Add", "low", "lowered_by", to="true_low"),
        node("Add", "high", "lowered_by", to="true_high"),
        node("Abs", "true_low", to="low_size"),
        node("Abs", "true_high", to="high_size"),
        node("Max", "low_size", "high_size", to="size"),
        node("Mul", "size", "flat", to="least_span"),
        node("Greater", "span", "least_span", to="is_not_flat"),
        node("Where", "is_not_flat", "span", "one", to="divisor"),
        node("Unsqueeze", SCALE, "map_axes", to="scale_"),
        node("Unsqueeze", SHIFT, "map_axes", to="shift_"),
        node("Div", "scale_", "divisor", to="stretch"),
        node("Where", "is_not_flat", "stretch", "zero", to="normalised"),
        node("Where", "normalise_", "normalised", "scale_", to="factor"),
        node("Mul", "low", "factor", to="below"),
        node("Where", "normalise_", "below", "zero", to="removed"),
        node("Sub", "shift_", "removed", to="offset"),
    ]


def _rows() -> list[onnx.NodeProto]:
    """`images` [N, C, H, W], of `up`."""
    return [
        node("Mul", "up", "factor", to="scaled"),
        node("Add", "scaled", "offset", to="mask"),
        *composed("mask"),
    ]


def composed(mask: str) -> list[onnx.NodeProto]:
    """`images` [N, C, H, W] = fills[image_of] + mask · differences[image_of]; mask [N, H, W]."""
    return [
        node("Unsqueeze", mask, "channel_axis", to="mask_"),
        node("Gather", DIFFERENCES, IMAGE_OF, to="difference", axis=0),
        node("Mul", "difference", "mask_", to="shown"),
        node("Gather", FILLS, IMAGE_OF, to="fill", axis=0),
        node("Add", "shown", "fill", to=IMAGES),
    ]


def constants() -> list[TensorProto]:
    """The constants that the nodes read."""
    values: dict[str, NDArray[np.generic]] = {
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
        "flat": np.full((), FLAT, np.float32),
        "map_axes": np.array([1, 2], np.int64),
        "channel_axis": np.array([1], np.int64),
    }
    return [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]


def node(operator: str, *inputs: str, to: str, **attributes: int | list[int]) -> onnx.NodeProto:
    """A node of one output."""
    return helper.make_node(operator, inputs, [to], None, None, None, None, **attributes)
