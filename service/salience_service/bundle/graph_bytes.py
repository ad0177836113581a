"""A graph as a runtime is given it, its weights beside it or inside."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from salience_service.bundle.graph_file import read_graph
from salience_service.bundle.half_graph import half_of, with_weights
from salience_service.errors import BundleRefused


@dataclass(frozen=True)
class GraphBytes:
    """A graph with what it reads its weights from.

    Attributes:
        name: of its file.
        model: the file as it lies there, or the bytes of another made of it.
        weights: bytes of its external files by name; the rest it reads beside itself.
        directory: where it lies.
    """

    name: str
    model: Path | bytes
    weights: Mapping[str, bytes]
    directory: Path

    def whole(self) -> "GraphBytes":
        """The same with its weights inside.

        Raises:
            BundleRefused: they lie nowhere, or come to more than 2 GiB.
        """
        return self._of(self._whole())

    def half(self) -> "GraphBytes":
        """In half precision (see `half_of`), its weights inside.

        Raises:
            BundleRefused: as for `whole`.
        """
        return self._of(half_of(self._whole()))

    def digest(self) -> str:
        """SHA-256 of the graph in hex, of its weights too where they are inside."""
        content = self.model if isinstance(self.model, bytes) else self.model.read_bytes()
        return hashlib.sha256(content).hexdigest()

    def inputs(self) -> dict[str, tuple[str | int, ...]]:
        """Dimensions of each input: a size, or the graph's name for it."""
        return {
            value.name: tuple(
                each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim
            )
            for value in self._read().graph.input
        }

    def _whole(self) -> onnx.ModelProto:
        return with_weights(self._read(), self.directory, self.weights)

    def _read(self) -> onnx.ModelProto:
        if isinstance(self.model, bytes):
            return onnx.ModelProto.FromString(self.model)
        return read_graph(self.model)

    def _of(self, model: onnx.ModelProto) -> "GraphBytes":
        try:
            content = model.SerializeToString()
        except Exception as error:  # protobuf's error for messages of 2 GiB has changed its class
            raise BundleRefused(
                f"{self.name!r} has more weights than the 2 GiB that a graph can hold inside, as "
                "TensorRT and float16 need it: use provider 'cuda' with tf32 or float32"
            ) from error
        return GraphBytes(self.name, content, {}, self.directory)


def graph_bytes(path: Path, weights: Mapping[str, bytes]) -> GraphBytes:
    """The graph at `path`; `weights`: bytes of files beside it."""
    return GraphBytes(path.name, path, weights, path.parent)
