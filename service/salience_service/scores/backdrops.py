"""Backdrops: what stands where insertion and deletion show nothing, by their protocol."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import InputContract
from salience_service.image.fill import check_fill, fill_tensor
from salience_service.request import BlurFill, CurveProtocol, Fill, MeanFill, ScoreKind

KERNEL, SIGMA = 11, 5.0
TRUNCATE = int(4 * SIGMA)
"""Pixels: scipy's Gaussian filter, by which RISE makes its kernel, ends at 4 σ."""

_FILLS: dict[tuple[CurveProtocol, ScoreKind], Fill] = {
    (CurveProtocol.RISE, ScoreKind.DELETION): MeanFill(),
    (CurveProtocol.POLYCAM, ScoreKind.INSERTION): BlurFill(KERNEL, SIGMA),
    (CurveProtocol.POLYCAM, ScoreKind.DELETION): BlurFill(KERNEL, SIGMA),
}


def check_backdrop(protocol: CurveProtocol, kind: ScoreKind, contract: InputContract) -> None:
    """Refuses a protocol whose blur is too wide for this input (InvalidRequest)."""
    fill = _FILLS.get((protocol, kind))
    if fill is not None:
        check_fill(fill, contract)


def backdrop(
    protocol: CurveProtocol,
    kind: ScoreKind,
    tensor: NDArray[np.float32],
    contract: InputContract,
) -> NDArray[np.float32]:
    """What stands behind the pixels of a curve.

    Args:
        protocol: RISE deletes to zero in normalised space and inserts into the image under its
            kernel, with zeros beyond the edges; POLYCAM does both over the image under a
            Gaussian of 11 × 11 pixels, σ 5, edges reflected.
        kind: INSERTION or DELETION.
        tensor: the image as the model takes it, float32 [C, H, W], normalised.
        contract: what the model takes.
    """
    fill = _FILLS.get((protocol, kind))
    if fill is not None:
        return fill_tensor(fill, tensor, contract)
    rows, columns = _rise_blur(contract.height), _rise_blur(contract.width)
    return np.asarray(rows @ tensor @ columns.T, np.float32)


@lru_cache(maxsize=8)
def _rise_blur(size: int) -> NDArray[np.float32]:
    """RISE's blur along an axis as a matrix, float32 [size, size]; rows near its ends sum to less.

    Its published code filters a single one in 11 samples with a Gaussian of σ 5; what would
    fall outside them is reflected, which folds the Gaussian and leaves it nearly flat. (The
    paper says no more than "blurred".)
    """
    reach = KERNEL // 2
    offsets = np.arange(size) - np.arange(size)[:, None] + reach
    inside = (offsets >= 0) & (offsets < KERNEL)
    matrix = np.where(inside, _folded_gaussian()[np.clip(offsets, 0, KERNEL - 1)], 0)
    result = matrix.astype(np.float32)
    result.setflags(write=False)
    return result


def _folded_gaussian() -> NDArray[np.float64]:
    """float64 [KERNEL], summing to 1."""
    reached = np.arange(-TRUNCATE, TRUNCATE + 1)
    weights = np.exp(-0.5 * (reached / SIGMA) ** 2)
    places = (KERNEL // 2 + reached) % (2 * KERNEL)
    folded = np.minimum(places, 2 * KERNEL - 1 - places)
    kernel = np.zeros(KERNEL)
    np.add.at(kernel, folded, weights / weights.sum())
    return kernel
