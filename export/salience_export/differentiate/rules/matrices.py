"""Linear maps along one axis: products with a constant matrix, and cotangents of picked entries."""

import numpy as np
from numpy.typing import NDArray

from salience_export.differentiate.step import Step

Indices = NDArray[np.int64]


def along(step: Step, tensor: str, rank: int, axis: int, matrix: NDArray[np.float64]) -> str:
    """Entry j along the axis becomes Σ_i entry i · matrix[i, j].

    Args:
        step: whose graph the product is written to, in its element type.
        tensor: of this rank.
        rank: its number of axes.
        axis: counted from the front.
        matrix: [entries, new entries].
    """
    factor = matrix.astype(step.dtype)
    if axis == rank - 1:
        return step.emit("MatMul", tensor, step.tape.constant(factor))
    if axis == rank - 2:
        return step.emit("MatMul", step.tape.constant(factor.T), tensor)
    turn = list(range(rank))
    turn[axis], turn[-1] = turn[-1], turn[axis]
    turned = step.emit("Transpose", tensor, perm=turn)
    product = step.emit("MatMul", turned, step.tape.constant(factor))
    return step.emit("Transpose", product, perm=turn)


def put_back(step: Step, gradient: str, rank: int, axis: int, indices: Indices, size: int) -> str:
    """The cotangent of an axis from that of some of its entries: zeros elsewhere, twins summed.

    Args:
        step: whose graph it is written to.
        gradient: of this rank; its entry j along the axis is that of entry indices[j].
        rank: its number of axes.
        axis: counted from the front.
        indices: entries that were picked, each in [0, size).
        size: entries of the axis.
    """
    if not len(indices):
        raise step.refused("no entries picked")
    if np.array_equal(indices, np.arange(size)):
        return gradient
    if np.array_equal(indices, np.arange(len(indices)) + indices[0]):
        return padded(step, gradient, rank, axis, (int(indices[0]), size - int(indices[-1]) - 1))
    if len(np.unique(indices)) < len(indices):
        return along(step, gradient, rank, axis, one_hot(indices, size))
    if len(indices) < size:
        gradient = padded(step, gradient, rank, axis, (0, 1))
    source = np.full(size, len(indices))
    source[indices] = np.arange(len(indices))
    return step.emit("Gather", gradient, step.tape.integers(*source.tolist()), axis=axis)


def padded(step: Step, tensor: str, rank: int, axis: int, ends: tuple[int, int]) -> str:
    """Zeros before and after the entries of an axis."""
    pads = np.zeros((2, rank), np.int64)
    pads[:, axis] = ends
    return step.emit("Pad", tensor, step.tape.integers(*pads.reshape(-1).tolist()))


def one_hot(indices: Indices, size: int) -> NDArray[np.float64]:
    """[len(indices), size], 1 where the column is the row's index; none for one outside."""
    return np.equal.outer(indices.reshape(-1), np.arange(size)).astype(np.float64)
