"""What stands behind the mask: a fill in the model's own numbers."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import InputContract
from salience_service.errors import InvalidRequest
from salience_service.image.prepare import in_order
from salience_service.request import BlackFill, BlurFill, ColourFill, Fill, MeanFill

KERNELS = (3, 255)
LARGEST_SIGMA = 128.0


def check_fill(fill: Fill, contract: InputContract) -> None:
    """Refuses a fill that this model cannot have (InvalidRequest), before any work."""
    match fill:
        case BlurFill():
            _check_blur(fill, contract)
        case ColourFill():
            _check_colour(fill, contract)


def fill_tensor(
    fill: Fill, tensor: NDArray[np.float32], contract: InputContract
) -> NDArray[np.float32]:
    """The fill of one image.

    Args:
        fill: which fill.
        tensor: the image as the model takes it, float32 [C, H, W], normalised.
        contract: what the model takes.

    Returns:
        float32 [C, H, W], normalised. `mean` is zero there; `black` and `colour` are constant;
        `blur` is the image under a Gaussian kernel (normalised to sum 1), edges reflected
        without repeating the edge pixel, as in Poly-CAM's published insertion and deletion.

    Raises:
        InvalidRequest: as `check_fill`.
    """
    check_fill(fill, contract)
    match fill:
        case MeanFill():
            return np.zeros_like(tensor)
        case BlackFill():
            return _constant(np.zeros(contract.channels), contract)
        case ColourFill(intensity=intensity):
            colour = np.broadcast_to(np.asarray(intensity), contract.channels)
            return _constant(np.asarray(in_order(colour, contract), np.float64), contract)
        case BlurFill(kernel=kernel, sigma=sigma):
            rows = blur_matrix(contract.height, kernel, sigma)
            columns = blur_matrix(contract.width, kernel, sigma)
            return np.asarray(rows @ tensor @ columns.T, np.float32)


@lru_cache(maxsize=32)
def blur_matrix(size: int, kernel: int, sigma: float) -> NDArray[np.float32]:
    """Gaussian blur along an axis as a matrix, float32 [size, size], rows summing to 1.

    The kernel is exp(−x²/2σ²) at its `kernel` whole positions, normalised; beyond the edges
    the axis is mirrored about its first and last sample.
    """
    reach = kernel // 2
    with np.errstate(over="ignore"):  # A tiny sigma: the weight is then zero, as it should be.
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    sources = np.arange(size)[:, None] + np.arange(-reach, reach + 1)
    mirrored = size - 1 - np.abs(size - 1 - np.abs(sources))
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], mirrored), weights)
    result = matrix.astype(np.float32)
    result.setflags(write=False)
    return result


def _constant(intensity: NDArray[np.floating], contract: InputContract) -> NDArray[np.float32]:
    colour = contract.normalise(intensity.reshape(-1, 1, 1))
    shape = (contract.channels, contract.height, contract.width)
    return np.ascontiguousarray(np.broadcast_to(colour, shape))


def _check_blur(fill: BlurFill, contract: InputContract) -> None:
    least, greatest = KERNELS
    if fill.kernel % 2 == 0 or not least <= fill.kernel <= greatest:
        raise InvalidRequest(
            f"blur kernel {fill.kernel}: use an odd number from {least} to {greatest}",
            field="blur.kernel",
        )
    side = min(contract.height, contract.width)
    if fill.kernel >= 2 * side:
        raise InvalidRequest(
            f"blur kernel {fill.kernel} is too wide to mirror an input of {side} pixels: "
            f"use less than {2 * side}",
            field="blur.kernel",
        )
    if not (math.isfinite(fill.sigma) and 0 < fill.sigma <= LARGEST_SIGMA):
        raise InvalidRequest(
            f"blur sigma {fill.sigma}: use more than 0, at most {LARGEST_SIGMA:g}",
            field="blur.sigma",
        )


def _check_colour(fill: ColourFill, contract: InputContract) -> None:
    if len(fill.intensity) not in (1, contract.channels):
        raise InvalidRequest(
            f"the fill's colour has {len(fill.intensity)} intensities: "
            f"use one grey{', or red, green, blue' if contract.channels == 3 else ''}",
            field="colour.intensity",
        )
    if not all(0 <= value <= 1 for value in fill.intensity):
        raise InvalidRequest(
            f"the fill's colour is {list(fill.intensity)}: use values in [0, 1]",
            field="colour.intensity",
        )
