"""Pictures of maps: a map in colour over its image, as the model saw it.

The server has a `picture` of its own, for overlays that it encodes. The two share no code,
since neither package needs the other; `tests/contract` holds their colours together.
"""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience_client.errors import InvalidRequest
from salience_client.extras import require
from salience_client.saliency_map import Rectangle, SaliencyMap

UNSIGNED_COLOURS = "bids:inferno"
"""Perceptually uniform, dark to bright."""
SIGNED_COLOURS = "colorcet:cet_d1"
"""Diverging: blue is evidence against, white is nothing, red is evidence for."""
BRIGHTEST_PERCENT = 99.5
"""Colours run to this percentile of a map's absolute values, and what exceeds it has the last
colour: a gradient's few greatest pixels would leave all others dark. Pictures only: never data."""
_COLOURS = 256
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Two tags of TIFF 6.0, and what the second means where a file does not say."""
_ORIENTATION = 274
"""A tag of Exif."""
_XMP = ("xmp", "XML:com.adobe.xmp")
"""As Pillow names it."""
_TAGS_OF_A_PNG = {_BITS_PER_SAMPLE: (16,), _PHOTOMETRIC: 1}
"""Of its grey of over 8 bits, as a TIFF would say it."""

ImageSource = NDArray[np.uint8] | bytes | str | os.PathLike[str]
"""RGB uint8 [H, W, 3], grey [H, W] or [H, W, 1], or a picture file."""


def overlay(
    image: ImageSource,
    saliency_map: SaliencyMap | NDArray[Any],
    alpha: float = 0.5,
    *,
    resize: str = "",
) -> NDArray[np.uint8]:
    """A map in colour over its image, on the map's grid.

    Unsigned maps run from their least value up; signed maps have zero in the middle of a
    diverging colour map. Both reach their last colours at the 99.5th percentile of the map's
    absolute values, so that few great pixels do not leave the others faint. Pixels that the
    model never saw stay as they are.

    Args:
        image: the image as it was sent. For a map in input geometry it is cut to what the
            model saw, or put into its frame; then it is resized to the map's grid.
        saliency_map: a map in input or original geometry; or numbers [h, w], which are
            taken as signed if one is negative.
        alpha: how strongly the colours are mixed over the image, in [0, 1].
        resize: the model's rule, `ModelDescription.input.resize`. Only "pad" matters, and there
            only in input geometry: the map covers the bars beside the image too.

    Returns:
        RGB, uint8 [h, w, 3].

    Raises:
        InvalidRequest: not an image, not a map, or alpha out of range.
        MissingExtra: Pillow or cmap is not installed.
    """
    if not 0 <= alpha <= 1:
        raise InvalidRequest(f"alpha is {alpha}: give 0 to 1")
    if isinstance(saliency_map, SaliencyMap):
        values, signed = _drawable(saliency_map), saliency_map.is_signed
        seen = saliency_map.seen if saliency_map.geometry == "input" else None
        valid = saliency_map.validity
    else:
        values, signed = _plain(saliency_map), bool((saliency_map < 0).any())
        seen, valid = None, None
    if seen is not None and resize == "pad":
        image, seen = letterboxed(image, *values.shape[::-1]), None
    under = _fit(image, values.shape, seen).astype(np.float32)
    mixed = under + alpha * (_coloured(values, signed, valid) - under)
    result = mixed if valid is None else np.where(valid[:, :, None], mixed, under)
    return np.asarray(np.rint(result), np.uint8)


def letterboxed(image: ImageSource, width: int, height: int) -> NDArray[np.uint8]:
    """An image as a model with the "pad" rule sees it: whole, centred on black, aspect kept.

    Sizes are rounded and centred as the server does, to the pixel.

    Returns:
        RGB, uint8 [height, width, 3].

    Raises:
        InvalidRequest: not an image.
        MissingExtra: Pillow is not installed.
    """
    pictures = require("PIL.Image", "cli", "drawing a map")
    whole = _opened(image)
    scale = min(width / whole.width, height / whole.height)
    inner = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    frame = pictures.new("RGB", (width, height))
    frame.paste(whole.resize(inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return np.asarray(frame, np.uint8)


def _drawable(saliency_map: SaliencyMap) -> NDArray[np.float32]:
    if saliency_map.is_png:
        raise InvalidRequest(f"a {saliency_map.encoding} map is a picture: ask for 'float32'")
    if saliency_map.geometry == "feature":
        raise InvalidRequest("a map in feature geometry has no image: ask for 'input'")
    return _plain(saliency_map.array)


def _plain(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise InvalidRequest(f"a map is finite numbers [h, w]; this has shape {values.shape}")
    return np.asarray(values, np.float32)


def _coloured(
    values: NDArray[np.float32], signed: bool, valid: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Colours, float32 [h, w, 3] in [0, 255]; a flat map has the colour of zero."""
    seen = values.ravel() if valid is None else values[valid]
    zero = seen.min() if seen.size and not signed else np.float32(0)
    strength = np.clip((values - zero) / _brightest(np.abs(seen - zero)), -1, 1)
    share = (strength + 1) / 2 if signed else np.maximum(strength, 0)
    colormap = require("cmap", "cli", "drawing a map").Colormap
    table = colormap(SIGNED_COLOURS if signed else UNSIGNED_COLOURS).lut(_COLOURS)
    index = np.rint(share * (_COLOURS - 1)).astype(np.intp)
    return np.asarray(255 * table[index, :3], np.float32)


def _brightest(strengths: NDArray[np.float32]) -> float:
    """The strength of the last colour; 1 for a map of zeros."""
    if not strengths.any():
        return 1.0
    # Where hardly a pixel differs from zero, the percentile is zero too.
    return float(np.percentile(strengths, BRIGHTEST_PERCENT)) or float(strengths.max())


def _fit(image: ImageSource, shape: tuple[int, ...], seen: Rectangle | None) -> NDArray[np.uint8]:
    """The part of an image that was seen (None = all), resized to RGB uint8 [h, w, 3]."""
    resampling = require("PIL.Image", "cli", "drawing a map").Resampling.BILINEAR
    box = None
    if seen is not None:
        box = (seen.left, seen.top, seen.left + seen.width, seen.top + seen.height)
    height, width = shape
    try:
        return np.asarray(_opened(image).resize((width, height), resampling, box), np.uint8)
    except ValueError as error:
        raise InvalidRequest("the map was not made from this image: its cut is outside") from error


def _opened(image: ImageSource) -> Any:
    """A Pillow picture in RGB, EXIF orientation applied, deeper grey brought to 8 bits."""
    pictures = require("PIL.Image", "cli", "drawing a map")
    operations = require("PIL.ImageOps", "cli", "drawing a map")
    if isinstance(image, np.ndarray):
        return _from_array(pictures, image)
    source = BytesIO(image) if isinstance(image, bytes) else Path(image)
    try:
        with pictures.open(source) as picture:
            _forget_xmp(pictures, picture)
            upright = operations.exif_transpose(picture)
            if picture.mode == "F" or picture.mode.startswith("I"):
                grey = _eight_bit(np.asarray(upright), *_black_and_white(picture))
                upright = pictures.fromarray(grey)
            return upright.convert("RGB")
    except (pictures.UnidentifiedImageError, pictures.DecompressionBombError) as error:
        raise InvalidRequest("this file is not a picture that can be drawn on") from error


def _forget_xmp(pictures: Any, picture: Any) -> None:
    """Leaves the orientation to Exif, as the server does; Pillow would take XMP's as well."""
    picture.info.pop("xmp", None)  # A TIFF turns itself upright as it is loaded.
    picture.load()  # A PNG may tell its XMP behind its pixels.
    for name in _XMP:
        picture.info.pop(name, None)
    exif = picture.getexif()
    if "exif" in picture.info and _ORIENTATION in exif:  # A JPEG's may have been read before.
        alone = pictures.Exif()
        alone.load(picture.info["exif"])
        exif[_ORIENTATION] = alone.get(_ORIENTATION, 1)


def _black_and_white(picture: Any) -> tuple[float, float]:
    """The values of black and of white, as the server takes them, where grey has over 8 bits."""
    tags = getattr(picture, "tag_v2", _TAGS_OF_A_PNG)
    full_scale = 1.0 if picture.mode == "F" else 2.0 ** max(tags[_BITS_PER_SAMPLE]) - 1
    inverted = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO
    return (full_scale, 0.0) if inverted else (0.0, full_scale)


def _eight_bit(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    strength = (np.asarray(values, np.float32) - black) / (white - black)
    return np.asarray(np.rint(np.clip(strength, 0, 1) * 255), np.uint8)


def _from_array(pictures: Any, image: NDArray[np.uint8]) -> Any:
    is_grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    is_colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (is_grey or is_colour):
        raise InvalidRequest(
            f"an image to draw on is uint8 [H, W] or [H, W, 3]; this is {image.dtype} "
            f"{list(image.shape)}"
        )
    plane = image[:, :, 0] if image.ndim == 3 and is_grey else image
    return pictures.fromarray(plane).convert("RGB")
