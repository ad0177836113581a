"""A bundle's ONNX file, checked before a runtime sees it: no code, no weights from elsewhere."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from salience_service.bundle.manifest import Graph, GraphRole, Manifest
from salience_service.bundle.tensors import (
    COLUMNS,
    COTANGENT,
    DIFFERENCES,
    FILLS,
    IMAGE_OF,
    IMAGES,
    KEEP,
    LOGITS,
    MAPS,
    MASKS,
    NORMALISE,
    ROWS,
    SCALE,
    SHIFT,
    TAP,
    gradient_of,
)
from salience_service.errors import BundleRefused

STANDARD_DOMAINS = ("", "ai.onnx")
"""Operators of other domains are code of someone else's (or files that a provider opens)."""

_MASKED = frozenset({DIFFERENCES, FILLS, IMAGE_OF, MAPS} | {ROWS, COLUMNS, NORMALISE, SCALE, SHIFT})
_INPUTS: Mapping[GraphRole, frozenset[str]] = {
    GraphRole.FORWARD: frozenset({IMAGES}),
    GraphRole.MASKED: _MASKED,
    GraphRole.PIXEL_MASKED: frozenset({DIFFERENCES, FILLS, IMAGE_OF, MASKS}),
    GraphRole.TAIL: frozenset({TAP, IMAGE_OF, KEEP}),
    GraphRole.GRADIENT: frozenset({IMAGES, COTANGENT}),
    GraphRole.MASKED_GRADIENT: _MASKED | {COTANGENT},
    GraphRole.TAIL_GRADIENT: frozenset({TAP, COTANGENT}),
}


def check_graph(path: Path, graph: Graph, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    """Refuses a graph that reaches outside its bundle or is not what its role needs.

    Args:
        path: the ONNX file.
        graph: what the manifest says of it.
        manifest: the whole manifest.
        sizes: bytes of every file of the bundle, by name.

    Raises:
        BundleRefused: not an ONNX file; a name that is no text; an operator domain beyond ONNX's
            own; external data outside the listed files; another opset, or inputs and outputs
            missing.
    """
    model = read_graph(path)
    for message in _walk(model):
        _check_text(message, graph.path)
        if isinstance(message, onnx.NodeProto | onnx.FunctionProto):
            _check_domain(message, graph.path)
        elif isinstance(message, onnx.TensorProto):
            _check_external_data(message, graph.path, sizes)
    _check_opset(model, graph)
    _check_signature(model.graph, graph, manifest)


def read_graph(path: Path) -> onnx.ModelProto:
    """The ONNX file at `path`, its external weights left where they lie.

    Raises:
        BundleRefused: not an ONNX file.
    """
    try:
        return onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as fault:
        raise BundleRefused(f"{path.name!r} is not an ONNX file") from fault


def _walk(message: Message) -> Iterator[Message]:
    """Every message inside: subgraphs, functions, attributes, whatever ONNX adds later."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _walk(part)


def _check_text(message: Message, name: str) -> None:
    """Refuses names that are not UTF-8, which protobuf hands over as bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            texts = value if field.is_repeated else (value,)
            if any(isinstance(text, bytes) for text in texts):
                raise BundleRefused(f"{name!r} holds text that is not UTF-8 ({field.name})")


def _check_domain(part: onnx.NodeProto | onnx.FunctionProto, name: str) -> None:
    if part.domain not in STANDARD_DOMAINS:
        raise BundleRefused(
            f"{name!r} has an operator of the domain {part.domain!r}: only ONNX's own are run"
        )


def _check_external_data(tensor: onnx.TensorProto, name: str, sizes: Mapping[str, int]) -> None:
    if not tensor.external_data and tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise BundleRefused(f"{name!r} says twice where the weights of {tensor.name!r} lie")
    location = entries.get("location", "")
    if location not in sizes:
        raise BundleRefused(
            f"{name!r} takes weights from {location!r}, which is not a file of its bundle"
        )
    offset = _count(entries.get("offset", "0"), name)
    length = _count(entries.get("length", str(max(0, sizes[location] - offset))), name)
    if offset + length > sizes[location]:
        raise BundleRefused(f"{name!r} takes weights from beyond the end of {location!r}")


def _count(text: str, name: str) -> int:
    # isdecimal, and not int alone: int also takes signs, spaces and underscores.
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BundleRefused(f"{name!r} has {text[:40]!r} for a count of bytes")
    return int(text)


def _check_opset(model: onnx.ModelProto, graph: Graph) -> None:
    opsets = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if opsets != [graph.opset]:
        raise BundleRefused(f"{graph.path!r} has opsets {opsets}; its manifest says {graph.opset}")


def _check_signature(found: onnx.GraphProto, graph: Graph, manifest: Manifest) -> None:
    weights = {tensor.name for tensor in found.initializer}
    inputs = {value.name for value in found.input} - weights
    outputs = {value.name for value in found.output}
    needed_inputs = _INPUTS.get(graph.role, frozenset()) | set(graph.live)
    needed_outputs = _outputs(graph, manifest)
    if graph.role in _INPUTS and inputs != needed_inputs:
        raise BundleRefused(
            f"{graph.path!r} takes {sorted(inputs)}; a {graph.role.value} graph takes "
            f"{sorted(needed_inputs)}"
        )
    missing = needed_outputs - outputs
    if missing:
        raise BundleRefused(f"{graph.path!r} does not put out {sorted(missing)}")


def _outputs(graph: Graph, manifest: Manifest) -> set[str]:
    """The outputs that a graph of this role must have."""
    if graph.role is GraphRole.FORWARD:
        live = {name for tail in manifest.graphs for name in tail.live}
        return {LOGITS} | {tap.output for tap in manifest.taps} | live
    if graph.role is GraphRole.GRADIENT:
        return {LOGITS, gradient_of(IMAGES)} | {gradient_of(tap.output) for tap in manifest.taps}
    if graph.role is GraphRole.MASKED_GRADIENT:
        return {LOGITS, gradient_of(MAPS)}
    if graph.role is GraphRole.TAIL_GRADIENT:
        return {LOGITS, gradient_of(TAP)}
    return {LOGITS}
