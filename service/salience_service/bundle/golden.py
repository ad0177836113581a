"""The golden example: a small input and what the model put out for it where it was exported."""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import GraphRole, Manifest, Tap, TokenLayout
from salience_service.errors import BundleRefused

MAX_GOLDEN_BYTES = 256 << 20
"""Of all arrays, unpacked. Six taps of a 512×512 model take about 50 MiB."""


_GRADIENT_ROLES = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)


@dataclass(frozen=True)
class GoldenGradient:
    """Gradients of cotangent · logits, for bundles with graphs for them.

    Attributes:
        cotangent: float32 [1, classes].
        d_cells: float32 [1, C, h, w]: to the image, gathered to the last tap's resolution
            (`interpolation.upsample_back`), since the whole would be as large as the image.
        d_tap: float32 [1, ...]: to the last tap.
        d_maps: float32 [n, h, w]: to the example's maps, each normalised and shown.
        tolerance: largest norm of a difference, relative to the norm of the expected.
    """

    cotangent: NDArray[np.float32]
    d_cells: NDArray[np.float32]
    d_tap: NDArray[np.float32]
    d_maps: NDArray[np.float32]
    tolerance: float


@dataclass(frozen=True)
class GoldenExample:
    """An input with its outputs; masked rows stand on the fill `mean` (zeros).

    Attributes:
        image: float32 [1, C, H, W], the model's own numbers.
        logits: float32 [1, classes].
        taps: per tap of the manifest, in its order, float32 [1, ...].
        maps: float32 [n, h, w].
        normalise: bool [n].
        scale: float32 [n].
        shift: float32 [n].
        masked_logits: float32 [n, classes].
        gradient: where the bundle has graphs for gradients.
    """

    image: NDArray[np.float32]
    logits: NDArray[np.float32]
    taps: tuple[NDArray[np.float32], ...]
    maps: NDArray[np.float32]
    normalise: NDArray[np.bool_]
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    masked_logits: NDArray[np.float32]
    gradient: GoldenGradient | None = None


def load_golden(path: Path, manifest: Manifest) -> GoldenExample:
    """The golden example in the .npz at `path`, with shapes as the manifest says.

    Raises:
        BundleRefused: not an .npz, larger than it says or than the limit, an array of
            Python objects, or arrays missing or of the wrong shape or type.
    """
    try:
        _check_sizes(path)
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except BundleRefused:
        raise
    except Exception as fault:  # NumPy reads headers as Python does, which raises of many kinds.
        raise BundleRefused(f"{path.name!r} is not an .npz of plain arrays") from fault
    return _fitted(found, manifest, path.name)


def _check_sizes(path: Path) -> None:
    """No array may be larger than its entry, nor all of them than the limit.

    NumPy allocates what an array's header claims before it reads a byte.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > MAX_GOLDEN_BYTES:
            raise BundleRefused(
                f"{path.name!r} unpacks to {total} bytes; at most {MAX_GOLDEN_BYTES} are read"
            )
        for entry in entries:
            if _claimed_bytes(archive, entry) > entry.file_size:
                raise BundleRefused(f"{path.name!r} claims more than it holds: {entry.filename!r}")


def _claimed_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError("arrays of plain numbers are written as format 1.0")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is a pickle")
    return math.prod(shape) * dtype.itemsize


def _fitted(found: dict[str, NDArray[Any]], manifest: Manifest, name: str) -> GoldenExample:
    contract, classes = manifest.input, manifest.head.classes
    maps_shape = found["maps"].shape if "maps" in found else ()
    if len(maps_shape) != 3 or 0 in maps_shape:
        raise BundleRefused(f"{name!r} has no array 'maps' of shape [n, h, w]")
    count = maps_shape[0]
    shapes = {
        "image": (1, contract.channels, contract.height, contract.width),
        "logits": (1, classes),
        "maps": maps_shape,
        "scale": (count,),
        "shift": (count,),
        "masked_logits": (count, classes),
    } | {f"tap/{index}": _shape(tap) for index, tap in enumerate(manifest.taps)}
    for key, shape in shapes.items():
        _check_array(found.get(key), np.float32, shape, f"{name!r}, array {key!r}")
    _check_array(found.get("normalise"), np.bool_, (count,), f"{name!r}, array 'normalise'")
    return GoldenExample(
        taps=tuple(found[f"tap/{index}"] for index in range(len(manifest.taps))),
        normalise=found["normalise"],
        gradient=_gradient(found, manifest, name),
        **{key: found[key] for key in shapes if not key.startswith("tap/")},
    )


def _gradient(
    found: dict[str, NDArray[Any]], manifest: Manifest, name: str
) -> GoldenGradient | None:
    if not any(manifest.graph(role) for role in _GRADIENT_ROLES):
        return None
    tap = manifest.taps[-1]
    shapes = {
        "cotangent": (1, manifest.head.classes),
        "d_cells": (1, manifest.input.channels, tap.height, tap.width),
        "d_tap": _shape(tap),
        "d_maps": found["maps"].shape,
    }
    for key, shape in {**shapes, "gradient_tolerance": (1,)}.items():
        _check_array(found.get(key), np.float32, shape, f"{name!r}, array {key!r}")
    tolerance = float(found["gradient_tolerance"][0])
    if not 0 < tolerance < 1:
        raise BundleRefused(
            f"{name!r} has gradient tolerance {tolerance}; use a number between 0 and 1"
        )
    return GoldenGradient(**{key: found[key] for key in shapes}, tolerance=tolerance)


def _shape(tap: Tap) -> tuple[int, ...]:
    """The shape of a tap of one image, as the forward graph puts it out."""
    tokens = tap.height * tap.width
    if tap.layout is TokenLayout.TOKENS:
        return (1, tokens, tap.channels)
    if tap.layout is TokenLayout.CLASS_AND_TOKENS:
        return (1, tokens + 1, tap.channels)
    return (1, tap.channels, tap.height, tap.width)


def _check_array(
    array: NDArray[Any] | None, dtype: type[np.generic], shape: tuple[int, ...], what: str
) -> None:
    if array is None or array.dtype != dtype or array.shape != shape:
        found = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
        raise BundleRefused(f"{what} is {found}; it must be {dtype.__name__} {list(shape)}")
    if not np.isfinite(array).all():
        raise BundleRefused(f"{what} holds NaN or infinity")
