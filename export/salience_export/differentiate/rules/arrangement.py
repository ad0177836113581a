"""Numbers rearranged, none computed: Reshape, Transpose, Concat, Expand and the like."""

from collections.abc import Mapping

import numpy as np
import onnx

from salience_export.differentiate.step import Rule, Step

_REALS = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16,
)  # fmt: skip


def passed_on(step: Step) -> Mapping[int, str]:
    """y = x."""
    return {0: step.cotangent}


def dropout(step: Step) -> Mapping[int, str]:
    """y = x, as nothing is dropped in inference."""
    if step.input(2) and step.constant(2).any():
        raise step.refused("training mode")
    return {0: step.cotangent}


def cast(step: Step) -> Mapping[int, str]:
    """Real numbers of another precision; whole numbers and truth values have no slope."""
    ends = [step.shape(name).element for name in (step.input(0), step.output)]
    if not set(ends) <= set(_REALS):
        return {}
    return {0: step.emit("Cast", step.cotangent, to=ends[0])}


def reshape(step: Step) -> Mapping[int, str]:
    """The same numbers in another shape."""
    return {0: step.reshaped(step.cotangent, step.input(0))}


def transpose(step: Step) -> Mapping[int, str]:
    """Axes in another order."""
    rank = len(step.sizes(step.input(0)))
    turn = step.integers("perm", range(rank)[::-1])
    return {0: step.emit("Transpose", step.cotangent, perm=np.argsort(turn).tolist())}


def concat(step: Step) -> Mapping[int, str]:
    """Tensors one after another: each gets its part."""
    axis = step.integer("axis", 0) % len(step.sizes(step.output))
    sizes = [step.sizes(name)[axis] for name in step.node.input]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise step.refused("images one after another")
    stops = np.cumsum(known).tolist()
    found: dict[int, str] = {}
    for position in step.wanted:
        limits = (stops[position] - known[position], stops[position], axis)
        found[position] = step.emit(
            "Slice", step.cotangent, *(step.tape.integers(each) for each in limits)
        )
    return found


def split(step: Step) -> Mapping[int, str]:
    """Parts of a tensor; those that nothing depends on count as zeros."""
    parts = [
        gradient or step.emit("Expand", step.number(0), step.emit("Shape", part))
        for part, gradient in zip(step.node.output, step.cotangents, strict=True)
    ]
    return {0: step.emit("Concat", *parts, axis=step.integer("axis", 0))}


def expand(step: Step) -> Mapping[int, str]:
    """A tensor repeated to a shape."""
    return {0: step.like(step.cotangent, step.input(0))}


def tile(step: Step) -> Mapping[int, str]:
    """A tensor laid out several times along its axes: the sum of its copies."""
    repeats = step.constant(1).astype(np.int64).tolist()
    stated: list[int] = []
    copies: list[int] = []
    for repeat, size in zip(repeats, step.sizes(step.input(0)), strict=True):
        if repeat != 1:
            copies.append(len(stated))
            stated.append(repeat)
        stated.append(-1 if size is None else size)
    if stated.count(-1) > 1:
        raise step.refused("two axes that count images")
    if not copies:
        return {0: step.cotangent}
    apart = step.emit("Reshape", step.cotangent, step.tape.integers(*stated))
    return {0: step.emit("ReduceSum", apart, step.tape.integers(*copies), keepdims=0)}


def depth_to_space(step: Step) -> Mapping[int, str]:
    """Channels moved into blocks of pixels: moved back, then ordered as they were."""
    side = step.integer("blocksize", 1)
    channels = step.emit("SpaceToDepth", step.cotangent, blocksize=side)
    if step.attribute("mode", "DCR") == "DCR":
        return {0: channels}
    _, depth, height, width = step.sizes(step.output)
    if depth is None or height is None or width is None:
        raise step.refused("pixels that count images")
    pixels = (height // side, width // side)
    apart = step.emit("Reshape", channels, step.tape.integers(0, side * side, depth, *pixels))
    turned = step.emit("Transpose", apart, perm=[0, 2, 1, 3, 4])
    return {0: step.reshaped(turned, step.input(0))}


def space_to_depth(step: Step) -> Mapping[int, str]:
    """Blocks of pixels moved into channels: moved back."""
    side = step.integer("blocksize", 1)
    return {0: step.emit("DepthToSpace", step.cotangent, blocksize=side)}


def triangle(step: Step) -> Mapping[int, str]:
    """The upper or lower triangle of matrices, zeros elsewhere."""
    diagonal = [step.input(1)] if step.input(1) else []
    upper = step.integer("upper", 1)
    return {0: step.emit("Trilu", step.cotangent, *diagonal, upper=upper)}


ARRANGEMENT: Mapping[str, Rule] = {
    "Cast": cast,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": reshape,
    "Identity": passed_on,
    "Reshape": reshape,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": reshape,
    "Tile": tile,
    "Transpose": transpose,
    "Trilu": triangle,
    "Unsqueeze": reshape,
}
