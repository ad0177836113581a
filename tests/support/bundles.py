"""A tiny but whole bundle, built by hand with onnx.helper, for tests of what reads bundles."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from salience_service.bundle.manifest import (
    BundleFile,
    ColourOrder,
    Golden,
    Graph,
    GraphRole,
    Head,
    InputContract,
    Interpolation,
    Manifest,
    OutputKind,
    Resize,
    ResizeRule,
    Source,
    Tap,
)
from salience_service.bundle.manifest_json import to_json
from salience_service.bundle.reader import Bundle, open_bundle

CLASSES, CHANNELS, SIDE, TAP_CHANNELS, OPSET = 3, 3, 8, 2, 18
WEIGHTS_FILE = "weights.bin"


def tiny_bundle(directory: Path, name: str = "tiny", version: str = "1") -> Manifest:
    """Writes a bundle of a one-convolution network into `directory`; returns its manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(0).normal(size=(TAP_CHANNELS, CHANNELS, 1, 1))
    (directory / WEIGHTS_FILE).write_bytes(weights.astype(np.float32).tobytes())
    onnx.save(forward_model(), directory / "forward.onnx")
    onnx.save(masked_model(), directory / "masked.onnx")
    np.savez(directory / "golden.npz", **golden_arrays())
    manifest = tiny_manifest(directory, name, version)
    write_manifest(directory, manifest)
    return manifest


def tiny_manifest(directory: Path, name: str = "tiny", version: str = "1") -> Manifest:
    """The manifest of the files that lie in `directory` now."""
    return Manifest(
        name=name,
        version=version,
        input=InputContract(
            channels=CHANNELS,
            height=SIDE,
            width=SIDE,
            colour_order=ColourOrder.RGB,
            white=1.0,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            resize=Resize(ResizeRule.SHORT_SIDE, Interpolation.BICUBIC, short_side=10),
        ),
        head=Head(OutputKind.SOFTMAX, CLASSES, labels=("cat", "dog", "fish")),
        taps=(Tap("conv", TAP_CHANNELS, SIDE, SIDE, output="conv_out"),),
        graphs=(
            Graph(GraphRole.FORWARD, "forward.onnx", OPSET),
            Graph(GraphRole.MASKED, "masked.onnx", OPSET),
        ),
        files=listed_files(directory),
        golden=Golden("golden.npz", tolerance=1e-4),
        source=Source("torch", "0" * 64, parity=1e-7, changes=("none",)),
        written_by={"salience": "0.1.0"},
    )


def listed_files(directory: Path) -> tuple[BundleFile, ...]:
    return tuple(
        BundleFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(directory.iterdir())
        if path.is_file() and path.name != "manifest.json"
    )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    (directory / "manifest.json").write_text(to_json(manifest), encoding="utf-8")


def without(
    bundle: Bundle, directory: Path, *lost: GraphRole, program: bool = True, name: str = ""
) -> Bundle:
    """A twin of a bundle, of another name if one is given, that lacks graphs, or its program.

    Args:
        bundle: a real one; its files are linked, not copied.
        directory: where the twin goes; it does not exist yet.
        lost: graphs of these roles are named no more; with the gradient graph those go that
            are held against it.
        program: whether the torch program is kept.
        name: the twin's name, or empty for the same.
    """
    gone = {*lost, *([GraphRole.TAIL_GRADIENT] if GraphRole.GRADIENT in lost else [])}
    graphs = tuple(graph for graph in bundle.manifest.graphs if graph.role not in gone)
    dropped = {graph.path for graph in bundle.manifest.graphs} - {graph.path for graph in graphs}
    if not program:
        dropped.add(bundle.manifest.torch_program)
    files = tuple(file for file in bundle.manifest.files if file.path not in dropped)
    directory.mkdir(parents=True)
    for file in files:
        (directory / file.path).hardlink_to(bundle.directory / file.path)
    manifest = replace(
        bundle.manifest,
        name=name or bundle.manifest.name,
        graphs=graphs,
        files=files,
        torch_program=bundle.manifest.torch_program if program else "",
    )
    write_manifest(directory, manifest)
    return open_bundle(directory)


def external_weight(location: str = WEIGHTS_FILE, **entries: str) -> TensorProto:
    """The convolution's weight, its bytes in another file."""
    tensor = TensorProto(
        name="kernel",
        data_type=TensorProto.FLOAT,
        dims=(TAP_CHANNELS, CHANNELS, 1, 1),
        data_location=TensorProto.EXTERNAL,
    )
    length = str(4 * TAP_CHANNELS * CHANNELS)
    for key, value in {"location": location, "offset": "0", "length": length, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def forward_model(weight: TensorProto | None = None) -> onnx.ModelProto:
    """images → conv_out and logits."""
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["conv_out"]),
        helper.make_node("GlobalAveragePool", ["conv_out"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "forward",
        [_value("images", ["N", CHANNELS, SIDE, SIDE])],
        [_value("logits", ["N", CLASSES]), _value("conv_out", ["N", TAP_CHANNELS, SIDE, SIDE])],
        [weight or external_weight(), _head()],
    )
    return _model(graph)


def masked_model() -> onnx.ModelProto:
    """A graph with the inputs and outputs of a masked graph; its numbers are no one's."""
    images = [CHANNELS, SIDE, SIDE]
    inputs = [
        _value("differences", ["R", *images]),
        _value("fills", ["R", *images]),
        _value("image_of", ["S"], TensorProto.INT64),
        _value("maps", ["N", "h", "w"]),
        _value("rows", [SIDE, "h"]),
        _value("columns", [SIDE, "w"]),
        _value("normalise", ["N"], TensorProto.BOOL),
        _value("scale", ["N"]),
        _value("shift", ["N"]),
    ]
    nodes = [
        helper.make_node("Gather", ["differences", "image_of"], ["taken"]),
        helper.make_node("Unsqueeze", ["scale", "axes"], ["scale_"]),
        helper.make_node("Mul", ["taken", "scale_"], ["rows_"]),
        helper.make_node("Conv", ["rows_", "kernel"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    graph = helper.make_graph(
        nodes,
        "masked",
        inputs,
        [_value("logits", ["N", CLASSES])],
        [external_weight(), _head(), axes],
    )
    return _model(graph)


def add_gradients(directory: Path) -> None:
    """Gives the bundle graphs for gradients, whose numbers are no one's, and a golden example."""
    forward, masked = forward_model(), masked_model()
    for model in (forward, masked):
        model.graph.input.append(_value("cotangent", ["N", CLASSES]))
    ends = {"images": "d_images", "conv_out": "d_conv_out"}
    for source, name in ends.items():
        forward.graph.node.append(helper.make_node("Neg", [source], [name]))
        forward.graph.output.append(_value(name, None))
    masked.graph.node.append(helper.make_node("Neg", ["maps"], ["d_maps"]))
    masked.graph.output.append(_value("d_maps", ["N", "h", "w"]))
    onnx.save(forward, directory / "gradient.onnx")
    onnx.save(masked, directory / "masked_gradient.onnx")
    np.savez(directory / "golden.npz", **golden_arrays(), **golden_gradients())
    manifest = tiny_manifest(directory)
    roles = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)
    graphs = tuple(Graph(role, f"{role.value}.onnx", OPSET) for role in roles)
    write_manifest(directory, replace(manifest, graphs=manifest.graphs + graphs))


def golden_gradients() -> dict[str, np.ndarray]:
    """What a golden example holds besides where its bundle has graphs for gradients."""
    return {
        "cotangent": np.ones((1, CLASSES), np.float32),
        "d_cells": np.ones((1, CHANNELS, SIDE, SIDE), np.float32),
        "d_tap": np.ones((1, TAP_CHANNELS, SIDE, SIDE), np.float32),
        "d_maps": np.ones((2, 4, 4), np.float32),
        "gradient_tolerance": np.array([0.05], np.float32),
    }


def golden_arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)

    def floats(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return {
        "image": floats(1, CHANNELS, SIDE, SIDE),
        "logits": floats(1, CLASSES),
        "tap/0": floats(1, TAP_CHANNELS, SIDE, SIDE),
        "maps": floats(2, 4, 4),
        "normalise": np.array([True, False]),
        "scale": np.array([1, -1], np.float32),
        "shift": np.array([0, 1], np.float32),
        "masked_logits": floats(2, CLASSES),
    }


def _head() -> TensorProto:
    weights = np.random.default_rng(2).normal(size=(TAP_CHANNELS, CLASSES)).astype(np.float32)
    return numpy_helper.from_array(weights, "head")


def _value(name: str, shape: list | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
