"""The weights of all graphs of a bundle, once, in one file beside them."""

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

import onnx
from onnx import TensorProto

from salience_export.graphs.flow import subgraphs

WEIGHTS = "weights.bin"
"""The one external file; its plain name is the location that graphs state."""

LEAST = 1024
"""Bytes from which on a tensor is moved out; smaller ones (shapes, limits of a Clip) stay,
where runtimes can fold them."""

LEAST_INDICES = 1 << 18
"""The same of whole numbers, which are no weights but places: the way back reads them."""

ALIGNMENT = 4096
"""Every tensor begins on a page of this size, as ONNX asks of files that runtimes map into
memory: several graphs of one bundle then share the pages instead of reading copies."""


class WeightsFile:
    """The weights file of a bundle as it grows: equal bytes once, each on a page of its own.

    A network may be as large as memory allows only once: what was taken is kept in the
    file and nowhere else, and graphs made of a taken model carry no weights about.

    Args:
        stream: where the bytes go.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = 0
        self._places: dict[bytes, int] = {}

    def take(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy whose large tensors point into the file, small ones being inside.

        Documentation strings and metadata are left out on the way: exporters write source
        paths and stack traces there.

        Args:
            model: left as it is; tensors that point into the file already stay so.
        """
        taken = onnx.ModelProto(
            ir_version=model.ir_version,
            opset_import=model.opset_import,
            functions=model.functions,
            graph=_without_weights(model.graph),
        )
        taken.graph.initializer.extend(map(self._moved, model.graph.initializer))
        _strip(taken.graph)
        for function in taken.functions:
            _clear(function)
            _strip_nodes(function.node)
            _clear(*function.value_info)
        return taken

    def _moved(self, tensor: TensorProto) -> TensorProto:
        """The tensor, or where it is large, a pointer to its bytes."""
        raw = _raw(tensor)
        if len(raw) < (LEAST_INDICES if tensor.data_type == TensorProto.INT64 else LEAST):
            return tensor
        digest = hashlib.sha256(raw).digest()
        if digest not in self._places:
            self._stream.write(bytes(-self._size % ALIGNMENT))
            self._size += -self._size % ALIGNMENT
            self._places[digest] = self._size
            self._stream.write(raw)
            self._size += len(raw)
        return _pointer(tensor, self._places[digest], len(raw))


def _without_weights(graph: onnx.GraphProto) -> onnx.GraphProto:
    """A copy without initializers: they are never held twice."""
    return onnx.GraphProto(
        name=graph.name,
        node=graph.node,
        input=graph.input,
        output=graph.output,
        value_info=graph.value_info,
        sparse_initializer=graph.sparse_initializer,
    )


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
    """The tensor's little-endian bytes; none of strings, and of what lies elsewhere already."""
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    if tensor.data_type == TensorProto.STRING or tensor.data_location == TensorProto.EXTERNAL:
        return b""
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data


def _pointer(tensor: TensorProto, offset: int, length: int) -> TensorProto:
    """The tensor, its bytes in the file."""
    stated = TensorProto(
        name=tensor.name,
        data_type=tensor.data_type,
        dims=tensor.dims,
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        stated.external_data.add(key=key, value=str(value))
    return stated
