"""Maps as pictures: grey, in colour over the image, or hiding what they call unimportant."""

import io
from functools import lru_cache

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray
from PIL import Image

from salience_service.image.pixels import to_bytes

UNSIGNED_COLOURS = "bids:inferno"
"""Perceptually uniform, dark to bright: no evidence darkens the photograph, evidence lights up."""
SIGNED_COLOURS = "colorcet:cet_d1"
"""Perceptually uniform both ways (Kovesi 2015): blue against, red for, white at zero."""
BRIGHTEST_PERCENT = 99.5
"""Colours run to this percentile of a map's absolute values, and what exceeds it has the last
colour: a gradient's few greatest pixels would leave all others dark. Overlays only: never data."""
SAMPLE = 1 << 20
"""The percentile is taken of at least so many pixels, or of all."""
UNSEEN_LIGHT = 0.35
"""Pixels the model never saw keep this share of their light, in grey, under stripes."""
STRIPE_GREY, FINEST, ACROSS = 160, 16, 24
"""Grey of those stripes; their period is the short side over 24, at least 16 pixels, an eighth
of it grey: seen whole on a screen, a large photograph keeps its stripes."""


def grey(unit: NDArray[np.float32], signed: bool) -> NDArray[np.uint8]:
    """A map of unit scale as uint8 [h, w]: unsigned 0 to 255; signed 1 to 255, zero at 128."""
    return np.asarray(np.rint(unit * 127 + 128), np.uint8) if signed else to_bytes(unit)


def overlay(
    unit: NDArray[np.float32], signed: bool, picture: NDArray[np.uint8], alpha: float
) -> NDArray[np.uint8]:
    """A map of unit scale [h, w] in colour over a picture [h, w, 3]; alpha: share of colour."""
    colours = _lookup(SIGNED_COLOURS if signed else UNSIGNED_COLOURS)[grey(unit, signed)]
    return np.asarray(Image.blend(Image.fromarray(picture), Image.fromarray(colours), alpha))


def vivid(unit: NDArray[np.float32], validity: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """A map of unit scale [h, w] for an overlay: what exceeds the percentile becomes ±1.

    Args:
        unit: the map.
        validity: bool [h, w], True where the model saw; None = everywhere.
    """
    every = max(1, unit.size // SAMPLE)  # An original may have fifty million pixels.
    strengths = np.abs(unit.ravel()[::every])
    if validity is not None:
        strengths = strengths[validity.ravel()[::every]]
    if not strengths.any():
        return unit
    # Where hardly a pixel differs from zero, the percentile is zero too.
    brightest = np.float32(np.percentile(strengths, BRIGHTEST_PERCENT)) or strengths.max()
    return np.asarray(np.clip(unit / brightest, -1, 1), np.float32)


def masked(
    mask: NDArray[np.float32], picture: NDArray[np.uint8], fill: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """fill + mask · (picture − fill), as rows are scored; mask [h, w], pixels [h, w, 3]."""
    composed = np.empty_like(picture)
    for channel in range(3):  # One at a time: an original may have fifty million pixels.
        ground = fill[:, :, channel].astype(np.float32)
        composed[:, :, channel] = np.rint(ground + mask * (picture[:, :, channel] - ground))
    return composed


def striped(
    result: NDArray[np.uint8], picture: NDArray[np.uint8], validity: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """Dims and stripes what the model never saw, so that none reads it as no evidence.

    Args:
        result: grey or colour drawn over the picture, uint8 [h, w, 3].
        picture: uint8 [h, w, 3].
        validity: bool [h, w], True where the model saw; None = everywhere.
    """
    if validity is None:
        return result
    light = np.asarray(Image.fromarray(picture).convert("L"))
    dim = np.asarray(light * np.float32(UNSEEN_LIGHT), np.uint8)
    height, width = dim.shape
    period = max(FINEST, min(height, width) // ACROSS)
    diagonal = (np.arange(height)[:, None] + np.arange(width)) % period
    dim[diagonal < period // 8] = STRIPE_GREY
    return np.where(validity[:, :, None], result, dim[:, :, None])


def three_channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey [h, w, 1] repeated to [h, w, 3]; colour as it is."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of grey [h, w] or of red, green, blue [h, w, 3]."""
    file = io.BytesIO()
    # Level 1 takes a fifth of the default's time (100 ms a megapixel), for a tenth more bytes.
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


@lru_cache(maxsize=2)
def _lookup(name: str) -> NDArray[np.uint8]:
    """A colour map as a table, uint8 [256, 3]."""
    return to_bytes(Colormap(name).lut(256)[:, :3])
