"""The `pixel_masked` graph: images composed with masks of their own size in, logits out."""

import onnx
from onnx import TensorProto, helper

from salience_export.graphs.flow import Flow, assemble, stand_aside
from salience_export.graphs.forward import declared
from salience_export.graphs.masked import composed, constants, made_by
from salience_service.bundle.tensors import DIFFERENCES, FILLS, IMAGE_OF, IMAGES, LOGITS, MASKS

_INPUTS = (DIFFERENCES, FILLS, IMAGE_OF, MASKS)


def build_pixel_masked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The pixel-masked graph of a source: row = fills[image_of] + mask · differences[image_of].

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].

    Returns:
        `differences` (image − fill) [R, C, H, W], `fills` [R, C, H, W], `image_of` int64 [S]
        with S = N or 1, `masks` [N, H, W] → `logits` [N, K].
    """
    shapes = Flow(model).shapes
    composition = composed(MASKS)
    shared, _ = stand_aside(model, {*_INPUTS, *made_by(composition)})
    shared.graph.initializer.extend(constants())
    _, height, width = shapes[IMAGES].per_image
    inputs = [
        declared(DIFFERENCES, shapes[IMAGES], "R"),
        declared(FILLS, shapes[IMAGES], "R"),
        helper.make_tensor_value_info(IMAGE_OF, TensorProto.INT64, ["S"]),
        helper.make_tensor_value_info(MASKS, TensorProto.FLOAT, ["N", height, width]),
    ]
    outputs = [declared(LOGITS, shapes[LOGITS], "N")]
    return assemble(shared, "pixel_masked", inputs, outputs, [*composition, *shared.graph.node])
