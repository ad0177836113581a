"""A graph in half precision: its network in float16, what composes its images in float32."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx

from salience_service.bundle.tensors import DIFFERENCES, IMAGES
from salience_service.errors import BundleRefused


def half_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, its network's weights and numbers in float16; inputs and outputs float32.

    Masks are brought to size, normalised and laid over images in float32: there are few
    of these numbers, and a tenth bit more or less of a mask moves every logit. Operators
    that float16 does not suit (Min, Max, CumSum, …) stay in float32 by ONNX Runtime's list.

    Converted here, not by a word to the provider: from TensorRT 11 on, precision is what the
    graph says, and CUDA never had such a word. What runs is what the exporter measured.

    Args:
        model: a forward, masked, pixel-masked or tail graph, its weights inside.
    """
    # Only who asks for float16 needs it. The package puts its own directory at the end of sys.path.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    composing, network = _split(model)
    half = convert_float_to_float16(network, keep_io_types=True)
    joined = onnx.ModelProto()
    joined.CopyFrom(half)
    graph = joined.graph
    _refill(graph.node, [*composing, *half.graph.node])
    _refill(graph.input, model.graph.input)
    held = {tensor.name for tensor in graph.initializer}
    read = {name for node in composing for name in _reads(node)}
    graph.initializer.extend(
        tensor for tensor in model.graph.initializer if tensor.name in read - held
    )
    return joined


def with_weights(
    model: onnx.ModelProto, directory: Path, weights: Mapping[str, bytes]
) -> onnx.ModelProto:
    """The model with its external weights inside.

    Args:
        model: changed in place, and returned.
        directory: where the files of weights lie.
        weights: bytes of those that were read already, by name; they go before the files.

    Raises:
        BundleRefused: a file is missing or too short.
    """
    read = dict(weights)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            name = place["location"]
            if name not in read:
                read[name] = _bytes(directory / name)
            offset = int(place.get("offset", 0))
            length = int(place.get("length", len(read[name]) - offset))
            if offset + length > len(read[name]):
                raise BundleRefused(f"{name!r} is too short for the weights of {tensor.name!r}")
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = read[name][offset : offset + length]
    return model


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleRefused(f"{path.name!r} cannot be read: {error.strerror}") from error


def _split(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], onnx.ModelProto]:
    """The nodes that compose the images, and the network behind them as a model of its own."""
    composing, network = _divided(model.graph.node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    _refill(graph.node, network)
    used = {name for node in network for name in _reads(node)}
    _refill(graph.initializer, [each for each in graph.initializer if each.name in used])
    if composing:
        kept = [value for value in graph.input if value.name in used]
        _refill(graph.input, [_images(graph), *kept])
    return composing, result


def _divided(
    nodes: Sequence[onnx.NodeProto],
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Nodes that the images are made by, and all others; both in their order."""
    needed, before, after = {IMAGES}, list[onnx.NodeProto](), list[onnx.NodeProto]()
    for node in reversed(nodes):
        if needed.isdisjoint(node.output):
            after.append(node)
        else:
            needed.update(_reads(node))
            before.append(node)
    return before[::-1], after[::-1]


def _images(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The images as an input: shaped as the sources they are composed of."""
    source = next(value for value in graph.input if value.name == DIFFERENCES)
    sizes = [each.dim_value for each in source.type.tensor_type.shape.dim[1:]]
    return onnx.helper.make_tensor_value_info(IMAGES, onnx.TensorProto.FLOAT, ["N", *sizes])


def _refill(field: "Sequence[object]", values: "Sequence[object]") -> None:
    """Sets a repeated field; the values may be its own."""
    kept = list(values)
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node uses; those inside its subgraphs too, be they its own or not."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)
