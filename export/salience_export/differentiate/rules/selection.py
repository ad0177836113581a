"""Entries picked along axes: Slice, Gather, Pad and the like."""

from collections.abc import Mapping

import numpy as np

from salience_export.differentiate.rules.matrices import Indices, put_back
from salience_export.differentiate.step import Rule, Step

_MODES = ("reflect", "edge", "wrap")


def slice_(step: Step) -> Mapping[int, str]:
    """A range along some axes, forwards or backwards, perhaps with steps."""
    sizes = step.sizes(step.input(0))
    starts, stops = (step.constant(position).tolist() for position in (1, 2))
    axes = step.constant(3).tolist() if step.input(3) else range(len(starts))
    steps = step.constant(4).tolist() if step.input(4) else [1] * len(starts)
    gradient = step.cotangent
    for axis, *limits in zip(axes, starts, stops, steps, strict=True):
        axis = int(axis) % len(sizes)
        if limits == [0, limits[1], 1] and limits[1] >= np.iinfo(np.int32).max:
            continue  # The whole axis, whatever its size.
        size = _size(step, axis)
        indices = np.arange(size)[slice(*limits)]
        gradient = put_back(step, gradient, len(sizes), axis, indices, size)
    return {0: gradient}


def gather(step: Step) -> Mapping[int, str]:
    """Entries of one axis by constant indices, in the shape of these."""
    if 0 not in step.wanted:
        return {}
    sizes = step.sizes(step.input(0))
    axis = step.integer("axis", 0) % len(sizes)
    size = _size(step, axis)
    indices = step.constant(1).astype(np.int64) % size
    return {0: _picked(step, (axis, axis + 1), indices.reshape(-1))}


def gather_nd(step: Step) -> Mapping[int, str]:
    """Entries of the first axes together by constant indices [..., axes]."""
    if 0 not in step.wanted:
        return {}
    if step.integer("batch_dims", 0):
        raise step.refused("batch_dims")
    indices = step.constant(1).astype(np.int64)
    count = indices.shape[-1]
    sizes = [_size(step, axis) for axis in range(count)]
    columns = tuple(np.moveaxis(indices % sizes, -1, 0).reshape(count, -1))
    return {0: _picked(step, (0, count), np.ravel_multi_index(columns, sizes))}


def _picked(step: Step, axes: tuple[int, int], indices: Indices) -> str:
    """The input's cotangent, of whose axes [first, last) as one entries were picked."""
    first, last = axes
    sizes = list(step.sizes(step.input(0)))
    size = int(np.prod([_size(step, axis) for axis in range(first, last)]))
    around = [*sizes[:first], len(indices), *sizes[last:]]
    if around.count(None) > 1:
        raise step.refused("two axes that count images")
    stated = [-1 if each is None else each for each in around]
    flat = step.emit("Reshape", step.cotangent, step.tape.integers(*stated))
    whole = put_back(step, flat, len(around), first, indices, size)
    return step.reshaped(whole, step.input(0)) if last - first > 1 else whole


def gather_elements(step: Step) -> Mapping[int, str]:
    """One entry along an axis for each place of the output."""
    if 0 not in step.wanted:
        return {}
    zeros = step.emit("Expand", step.number(0), step.emit("Shape", step.input(0)))
    scattered = step.emit(
        "ScatterElements",
        zeros,
        step.input(1),
        step.cotangent,
        axis=step.integer("axis", 0),
        reduction="add",
    )
    return {0: scattered}


def pad(step: Step) -> Mapping[int, str]:
    """Entries added around: what is new and constant is dropped, what was copied adds up."""
    mode = step.attribute("mode", "constant")
    if step.wanted != {0} or mode not in ("constant", *_MODES):
        raise step.refused(f"mode {mode!r} or a computed number to pad with")
    sizes = step.sizes(step.input(0))
    ends = step.constant(1).reshape(2, -1).astype(int)
    axes = step.constant(3).tolist() if step.input(3) else range(len(sizes))
    gradient = step.cotangent
    for axis, (before, after) in zip(axes, ends.T.tolist(), strict=True):
        axis = int(axis) % len(sizes)
        if before or after:
            size = _size(step, axis)
            source = _padded(np.arange(size), (before, after), str(mode))
            gradient = _unpadded(step, gradient, axis, source, size)
    return {0: gradient}


def _padded(entries: Indices, ends: tuple[int, int], mode: str) -> Indices:
    """Where each entry of a padded axis comes from; −1 for a constant. Negative ends cut."""
    before, after = (max(0, end) for end in ends)
    if mode == "constant":
        source = np.pad(entries, (before, after), constant_values=-1)
    else:
        source = np.pad(entries, (before, after), mode=mode)  # type: ignore[call-overload]
    return source[max(0, -ends[0]) : len(source) - max(0, -ends[1])]


def _unpadded(step: Step, gradient: str, axis: int, source: Indices, size: int) -> str:
    """The cotangent of an axis from that of its padded form."""
    own = np.flatnonzero(source >= 0)
    if len(own) < len(source):
        limits = (int(own[0]), int(own[-1]) + 1, axis)
        gradient = step.emit("Slice", gradient, *(step.tape.integers(each) for each in limits))
    return put_back(step, gradient, len(step.sizes(step.output)), axis, source[own], size)


def _size(step: Step, axis: int) -> int:
    size = step.sizes(step.input(0))[axis]
    if size is None:
        raise step.refused("entries picked among images")
    return size


SELECTION: Mapping[str, Rule] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Pad": pad,
    "Slice": slice_,
}
