"""Eigen-CAM: the strongest principal component of a tap's features."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from salience_service.errors import NotPossible
from salience_service.interpolation import is_flat
from salience_service.methods.method import Extent
from salience_service.methods.options import Options
from salience_service.methods.probe import Base, FloatMap, MethodRun, Outcome


class EigenCamOptions(Options):
    """What is done to the features before, and to the map after."""

    centre: bool = Field(
        True, description="Take each channel's mean off first; false is the paper's equation."
    )
    relu: bool = Field(True, description="Cut negative values off, as pytorch-grad-cam does.")


def eigen_cam(base: Base, options: EigenCamOptions) -> MethodRun:
    """A v, float32 [h, w]: features A [hw, K] on their first right singular vector v.

    Muhammad and Yeasin 2020, "Eigen-CAM: class activation map using principal
    components". The same for every target. Departures, both pytorch-grad-cam's: A is
    centred, and the map is cut at zero. The sign of v is arbitrary: here the value of
    largest magnitude is positive (Seg-Eigen-CAM, Chung and Ying 2025, equation 13).

    Raises:
        NotPossible: a feature is NaN or infinite.
    """
    yield from ()
    features = base.features[base.tap]
    if not np.isfinite(features).all():
        raise NotPossible(
            f"features of tap {base.tap} are NaN or infinite: the model overflows on the image"
        )
    image_map = _projection(_places(features, options)).reshape(features.shape[1:])
    if options.relu:
        image_map = np.maximum(image_map, 0)
    return Outcome(image_map.astype(np.float32))


def eigen_cam_working(extent: Extent, options: EigenCamOptions) -> int:  # noqa: ARG001
    """The features, centred, as the decomposition copies them, its both sides and its own work."""
    (channels,), (numbers,) = extent.channels, extent.features
    return 5 * numbers + 7 * min(channels, numbers // channels) ** 2


def _places(features: FloatMap, options: EigenCamOptions) -> NDArray[np.float64]:
    """Features of every place, float64 [hw, K]; a channel that is flat tells no places apart."""
    places = features.reshape(len(features), -1).T.astype(np.float64)
    if not options.centre:
        return places
    centred: NDArray[np.float64] = places - places.mean(axis=0)
    flat = [is_flat(channel.min(), channel.max()) for channel in features]
    centred[:, flat] = 0  # What is left of it is the rounding of its mean.
    return centred


def _projection(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places [n, K] on their first right singular vector, float64 [n], its sign settled."""
    _, _, directions = np.linalg.svd(places, full_matrices=False)
    projection: NDArray[np.float64] = places @ directions[0]
    sign = -1 if -projection.min() > projection.max() else 1
    settled: NDArray[np.float64] = sign * projection
    return settled
