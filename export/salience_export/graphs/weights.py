"""The weights of all graphs of a bundle, once, in one file beside them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from salience_export.graphs.flow import subgraphs

WEIGHTS = "weights.bin"
"""The one external file; its plain name is the location that graphs state."""

LEAST = 1024
"""Bytes from which on a tensor is moved out; smaller ones (shapes, limits of a Clip) stay,
where runtimes can fold them."""

ALIGNMENT = 4096
"""Every tensor begins on a page of this size, as ONNX asks of files that runtimes map into
memory: several graphs of one bundle then share the pages instead of reading copies."""


@dataclass(frozen=True)
class SharedWeights:
    """Graphs whose large tensors point into one file, and that file's bytes."""

    graphs: Mapping[str, onnx.ModelProto]
    content: bytes


def share_weights(graphs: Mapping[str, onnx.ModelProto]) -> SharedWeights:
    """Moves large tensors of all graphs into one file, equal bytes once.

    Documentation strings and metadata are dropped on the way: exporters write source
    paths and stack traces there.

    Args:
        graphs: by name; left as they are.
    """
    content = bytearray()
    places: dict[bytes, int] = {}
    shared: dict[str, onnx.ModelProto] = {}
    for name, model in graphs.items():
        shared[name] = without_notes(model)
        for tensor in shared[name].graph.initializer:
            raw = _raw(tensor)
            if len(raw) < LEAST or tensor.data_type == TensorProto.STRING:
                continue
            if raw not in places:
                content.extend(bytes(-len(content) % ALIGNMENT))
                places[raw] = len(content)
                content.extend(raw)
            _point(tensor, places[raw], len(raw))
    return SharedWeights(shared, bytes(content))


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without documentation strings, metadata and producer."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for name in ("doc_string", "producer_name", "producer_version", "domain", "metadata_props"):
        result.ClearField(name)
    _strip(result.graph)
    for function in result.functions:
        _clear(function)
        _strip_nodes(function.node)
        _clear(*function.value_info)
    return result


def _strip(graph: onnx.GraphProto) -> None:
    _clear(graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    graph.ClearField("quantization_annotation")
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        _clear(node, *node.attribute)
        for inner in subgraphs(node):
            _strip(inner)


def _clear(*messages: object) -> None:
    for message in messages:
        for name in ("doc_string", "metadata_props"):
            if name in message.DESCRIPTOR.fields_by_name:  # type: ignore[attr-defined]
                message.ClearField(name)  # type: ignore[attr-defined]


def _raw(tensor: TensorProto) -> bytes:
    """The tensor's little-endian bytes."""
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    if tensor.data_type == TensorProto.STRING:
        return b""
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data


def _point(tensor: TensorProto, offset: int, length: int) -> None:
    """Makes the tensor (in place) external."""
    stated = TensorProto(
        name=tensor.name,
        data_type=tensor.data_type,
        dims=tensor.dims,
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        stated.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(stated)
