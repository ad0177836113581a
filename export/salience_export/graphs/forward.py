"""The `forward` graph: images in; logits, one feature tensor per tap and tensors for tails out."""

from collections.abc import Iterable, Mapping, Sequence

import onnx

from salience_export.graphs.flow import Flow, assemble, stand_aside
from salience_export.graphs.shapes import Shape
from salience_export.source import SourceTap
from salience_service.bundle.tensors import IMAGES, LOGITS


def output_names(taps: Sequence[SourceTap], live: Iterable[str]) -> dict[str, str]:
    """Tensors of the source and the names they bear as outputs of the forward graph.

    Args:
        taps: become `tap_0`, `tap_1`, …; taps that are one tensor share the first's name.
        live: tensors that tails need besides; those that are no taps become `live_0`, ….
    """
    names: dict[str, str] = {}
    for position, tap in enumerate(taps):
        names.setdefault(tap.tensor, f"tap_{position}")
    others = [tensor for tensor in dict.fromkeys(live) if tensor not in names]
    return names | {tensor: f"live_{position}" for position, tensor in enumerate(others)}


def build_forward(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """The forward graph.

    Each named tensor is put out through an Identity, so that it stays exactly what the
    source computes there: a runtime may fold or fuse around an output, never through it.

    Args:
        model: input `images` [N, C, H, W], output `logits` [N, K].
        names: of `output_names`.

    Returns:
        `images` → `logits`, and each tensor [N, …] under its name.
    """
    shapes = Flow(model).shapes
    shared, moved = stand_aside(model, set(names.values()))
    copies = [
        onnx.helper.make_node("Identity", [moved.get(tensor, tensor)], [name])
        for tensor, name in names.items()
    ]
    outputs = [declared(LOGITS, shapes[LOGITS], "N")]
    outputs += [declared(name, shapes[tensor], "N") for tensor, name in names.items()]
    inputs = [declared(IMAGES, shapes[IMAGES], "N")]
    return assemble(shared, "forward", inputs, outputs, [*shared.graph.node, *copies])


def declared(name: str, shape: Shape, batch: str) -> onnx.ValueInfoProto:
    """A graph's input or output of this shape, its batch dimension of this name."""
    sizes: list[str | int | None] = [batch, *shape.per_image]
    return onnx.helper.make_tensor_value_info(name, shape.element, sizes)
