"""Shapes of a graph's tensors, per image: what the rows of a batch look like."""

import math
from dataclasses import dataclass

import onnx

from salience_export.errors import ExportError

_BATCHES = (3, 5)
"""Two batch sizes: a dimension of just these counts images, one that differs otherwise their parts.
Inference at a stated batch also sees through shapes that a graph computes from its input's."""


_SMALL = 64
"""Elements of a constant that may state a shape; larger ones need not be copied."""


@dataclass(frozen=True)
class Shape:
    """A tensor's element type and dimensions; None where it grows with the batch.

    Attributes:
        element: of onnx.TensorProto.DataType.
        dimensions: sizes; None where the size counts images, or a number of parts of each.
        is_row: whether the tensor holds one entry per image along its first axis, and only there.
    """

    element: int
    dimensions: tuple[int | None, ...]
    is_row: bool = False

    @property
    def per_image(self) -> tuple[int, ...]:
        """Dimensions of one image's entry."""
        return tuple(size or 0 for size in self.dimensions[1:])

    @property
    def is_map(self) -> bool:
        """Whether it is float32 [N, C, H, W] with more than one pixel."""
        return (
            self.element == onnx.TensorProto.FLOAT
            and self.is_row
            and len(self.dimensions) == 4
            and self.per_image[1] * self.per_image[2] > 1
        )

    @property
    def is_tokens(self) -> bool:
        """Whether it is float32 [N, T, C] with more than one token."""
        return (
            self.element == onnx.TensorProto.FLOAT
            and self.is_row
            and len(self.dimensions) == 3
            and self.per_image[0] > 1
        )


def shapes_of(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes of the tensors that inference or the graph itself can tell; others are missing.

    Args:
        model: its input's first dimension is the batch.
    """
    first, second = (sizes_at(model, batch) for batch in _BATCHES)
    return {
        name: _compared(element, sizes, second[name][1])
        for name, (element, sizes) in first.items()
        if name in second and len(sizes) == len(second[name][1])
    }


def _compared(element: int, first: tuple[int, ...], second: tuple[int, ...]) -> Shape:
    """What two batch sizes tell of a tensor, by its sizes at each."""
    sizes = tuple(a if a == b else None for a, b in zip(first, second, strict=True))
    counts_images = (first[:1], second[:1]) == (_BATCHES[:1], _BATCHES[1:])
    return Shape(element, sizes, counts_images and None not in sizes[1:])


def sizes_at(model: onnx.ModelProto, batch: int) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Element types and sizes of all tensors at a stated batch; those unknown are missing.

    Args:
        model: its input's first dimension is the batch; what else it states counts only where
            inference cannot tell, and of tensors whose first dimension it names as the input's.
        batch: ≥ 1.

    Raises:
        ExportError: shapes that contradict each other.
    """
    stated = _skeleton(model)
    told: list[onnx.ValueInfoProto] = []
    for value in stated.graph.input[:1]:
        told = _told(model, value.type.tensor_type.shape.dim[0].dim_param, batch)
        value.type.tensor_type.shape.dim[0].dim_value = batch
    try:
        graph = onnx.shape_inference.infer_shapes(stated, data_prop=True).graph
    except Exception as error:  # onnx raises RuntimeError and its own InferenceError
        raise ExportError("the shapes of the graph contradict each other") from error
    return {
        value.name: (value.type.tensor_type.elem_type, sizes)
        for value in (*told, *graph.input, *graph.value_info, *graph.output)
        if (sizes := _sizes(value)) is not None
    }


def _told(model: onnx.ModelProto, name: str, batch: int) -> list[onnx.ValueInfoProto]:
    """What the graph states of tensors whose first dimension bears the name, at that batch."""
    found: list[onnx.ValueInfoProto] = []
    for value in (*model.graph.value_info, *model.graph.output):
        first = value.type.tensor_type.shape.dim[:1]
        if name and [size.dim_param for size in first] == [name]:
            stated = onnx.ValueInfoProto()
            stated.CopyFrom(value)
            stated.type.tensor_type.shape.dim[0].dim_value = batch
            found.append(stated)
    return found


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without what it states of inner shapes, large weights as inputs.

    Stated shapes may hold for another batch; only small constants can be shapes.
    """
    source = model.graph
    held = {tensor.name for tensor in source.initializer}
    small = [t for t in source.initializer if math.prod(t.dims) <= _SMALL]
    large = [
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in source.initializer
        if math.prod(t.dims) > _SMALL
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(value.name) for value in source.output]
    for value, stated in zip(outputs, source.output, strict=True):
        value.type.tensor_type.elem_type = stated.type.tensor_type.elem_type
    images = [value for value in source.input if value.name not in held]
    nodes = [inferable(node) for node in source.node]
    graph = onnx.helper.make_graph(nodes, "shapes", images + large, outputs, small)
    result = onnx.helper.make_model(
        graph, opset_imports=model.opset_import, functions=model.functions
    )
    result.ir_version = max(model.ir_version, 4)
    return result


def inferable(node: onnx.NodeProto) -> onnx.NodeProto:
    """The node, or one of the same shape: onnx cannot tell that of a GroupNormalization."""
    if node.op_type != "GroupNormalization":
        return node
    return onnx.helper.make_node("Identity", node.input[:1], node.output)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """Dimensions, or None where any is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    if not all(size.HasField("dim_value") for size in tensor.shape.dim):
        return None
    return tuple(size.dim_value for size in tensor.shape.dim)
