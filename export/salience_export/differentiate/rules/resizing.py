"""Resize: images enlarged or made smaller, axis by axis."""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from salience_export.differentiate.rules.matrices import along
from salience_export.differentiate.step import Rule, Step

_KEPT = (
    "antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode",
    "nearest_mode",
)  # fmt: skip
"""Attributes that mean the same for one axis alone."""


def resize(step: Step) -> Mapping[int, str]:
    """A linear map along each axis: its matrix is what becomes of the identity."""
    if step.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise step.refused("tf_crop_and_resize")
    if step.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise step.refused("a kept aspect ratio")
    before, after = step.sizes(step.input(0)), step.sizes(step.output)
    scales = _scales(step, len(before))
    gradient = step.cotangent
    for axis, (size, count, scale) in enumerate(zip(before, after, scales, strict=True)):
        if size == count and scale in (None, 1):
            continue
        if size is None or count is None:
            raise step.refused("images between images")
        matrix = _resized_identity(step, size, count, scale)
        gradient = along(step, gradient, len(before), axis, matrix.T)
    return {0: gradient}


def _scales(step: Step, rank: int) -> list[float | None]:
    """Per axis its stated scale; None where the size is stated instead, or neither."""
    found: list[float | None] = [None] * rank
    if step.input(2) and step.constant(2).size:
        values = step.constant(2).astype(np.float32).tolist()
        axes = step.integers("axes", range(rank))
        for axis, value in zip(axes, values, strict=True):
            found[axis % rank] = value
    return found


def _resized_identity(
    step: Step, size: int, count: int, scale: float | None
) -> NDArray[np.float64]:
    """[entry, new entry], by onnx's own evaluator in numpy."""
    if scale is None:
        wanted = numpy_helper.from_array(np.array([size, count], np.int64), "wanted")
        inputs = ["x", "", "", "wanted"]
    else:
        wanted = numpy_helper.from_array(np.array([1, scale], np.float32), "wanted")
        inputs = ["x", "", "wanted"]
    node = helper.make_node("Resize", inputs, ["y"])
    node.attribute.extend(each for each in step.node.attribute if each.name in _KEPT)
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, None) for name in "xy"]
    graph = helper.make_graph([node], "resize", ends[:1], ends[1:], [wanted])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", step.opset)])
    (resized,) = ReferenceEvaluator(model).run(None, {"x": np.eye(size)})
    return np.asarray(resized, np.float64)


RESIZING: Mapping[str, Rule] = {"Resize": resize}
