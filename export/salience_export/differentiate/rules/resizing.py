"""Resize: images enlarged or made smaller, axis by axis."""

import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from salience_export.differentiate.rules.matrices import along
from salience_export.differentiate.step import Rule, Step
from salience_service.errors import SalienceError
from salience_service.runtime.session import Device, Execution, Session

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
    """[size, count], as ONNX Runtime resizes it.

    Raises:
        NoRule: it does not, or to another size than inference tells.
    """
    if scale is None:
        wanted = numpy_helper.from_array(np.array([size, count], np.int64), "wanted")
        inputs = ["x", "", "", "wanted"]
    else:
        wanted = numpy_helper.from_array(np.array([1, scale], np.float32), "wanted")
        inputs = ["x", "", "wanted"]
    node = helper.make_node("Resize", inputs, ["y"])
    node.attribute.extend(each for each in step.node.attribute if each.name in _KEPT)
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([node], "resize", ends[:1], ends[1:], [wanted])
    opset = helper.make_opsetid("", step.opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    try:
        matrix = _of_identity(model.SerializeToString(deterministic=True), size)
    except SalienceError as error:
        raise step.refused("a mode that ONNX Runtime does not run along one axis") from error
    if matrix.shape != (size, count):
        raise step.refused("a size that ONNX Runtime and shape inference tell differently")
    return matrix


@lru_cache(maxsize=32)
def _of_identity(model: bytes, size: int) -> NDArray[np.float64]:
    """What a graph `x` → `y` makes of [size, size]; kept, for each gradient graph asks again."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "resize.onnx")
        path.write_bytes(model)
        session = Session(path, Device(threads=1))
    (made,) = session.run({"x": np.eye(size, dtype=np.float32)}, ["y"], Execution())
    return made.astype(np.float64)


RESIZING: Mapping[str, Rule] = {"Resize": resize}
