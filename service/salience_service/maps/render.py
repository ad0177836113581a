"""A raw map becomes what the caller asked for: a grid, a scale, an encoding."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import InputContract
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.events import EncodedMap
from salience_service.image.prepare import Prepared, to_pixels
from salience_service.interpolation import is_flat, upsample
from salience_service.maps.picture import (
    grey,
    masked,
    overlay,
    png,
    striped,
    three_channels,
    vivid,
)
from salience_service.request import Encoding, Geometry, MapFormat, Scale

PICTURES = (Encoding.PNG_OVERLAY, Encoding.PNG_MASKED)
PNG = (Encoding.PNG_GREY, *PICTURES)
LEAST_HALF, GREATEST_HALF = float(np.finfo(np.float16).smallest_normal), 65504.0
"""Between these, float16 has eleven bits."""
WIDEST = float(np.finfo(np.float32).max) / 2
"""A range of raw values beyond this runs over when it is scaled."""


def check_format(wanted: MapFormat) -> None:
    """Refuses a format that no map can have (InvalidRequest), before any work."""
    if not 0 < wanted.overlay_alpha <= 1:
        raise InvalidRequest(
            f"overlay alpha {wanted.overlay_alpha}: use more than 0, at most 1",
            field="overlay_alpha",
        )
    if wanted.encoding in PICTURES and wanted.geometry is Geometry.FEATURE:
        raise InvalidRequest(
            f"{wanted.encoding.value} needs an image to lie on, and the feature geometry has none: "
            "use the input or the original geometry",
            field="geometry",
        )
    if wanted.encoding in PNG and wanted.scale is Scale.RAW:
        raise InvalidRequest(
            f"{wanted.encoding.value} cannot hold raw values: use float32, or the unit scale",
            field="scale",
        )


def render(
    raw_map: NDArray[np.float32],
    signed: bool,
    prepared: Prepared,
    contract: InputContract,
    fill_tensor: NDArray[np.float32],
    wanted: MapFormat,
) -> EncodedMap:
    """Encodes a finished map.

    Args:
        raw_map: float32 [h, w], as the method made it.
        signed: whether negative values mean evidence against.
        prepared: the image, and where the model's input lies in it.
        contract: what the model takes.
        fill_tensor: float32 [C, H, W], what stood behind the masks.
        wanted: grid, scale and encoding.

    Returns:
        The map. Where the model did not see (original geometry only), values are zero, and
        `validity` is False; extremes and scale come from the pixels it saw.

    Raises:
        NotPossible: the map holds NaN or infinity, or spans more than float32 can scale.
        InvalidRequest: as `check_format`; or raw values that float16 cannot hold.
    """
    check_format(wanted)
    if not float(raw_map.max()) - float(raw_map.min()) <= WIDEST:  # NaN compares false.
        raise NotPossible("the map holds NaN, infinity or numbers near it: the model ran over")
    grid = mask = _on_grid(raw_map, prepared, wanted.geometry)
    if wanted.encoding is Encoding.PNG_MASKED:
        if signed:  # Evidence against hides as much as none does.
            raw_map = np.maximum(raw_map, 0)
            mask = _on_grid(raw_map, prepared, wanted.geometry)
        mask = _as_scored(mask, raw_map, prepared)
    return EncodedMap(
        data=_encoded(grid, mask, signed, prepared, contract, fill_tensor, wanted),
        encoding=wanted.encoding,
        geometry=wanted.geometry,
        scale=wanted.scale,
        height=grid.values.shape[0],
        width=grid.values.shape[1],
        raw_minimum=grid.minimum,
        raw_maximum=grid.maximum,
        degenerate=grid.flat,
        validity=grid.validity,
        seen=prepared.placement.seen(),
    )


def _encoded(
    grid: "_Grid",
    mask: "_Grid",
    signed: bool,
    prepared: Prepared,
    contract: InputContract,
    fill_tensor: NDArray[np.float32],
    wanted: MapFormat,
) -> bytes:
    """The map's pixels in the encoding asked for; `mask` is that of `png-masked`."""
    unit = grid.unit(signed)
    match wanted.encoding:
        case Encoding.FLOAT32:
            return _values(grid, unit, wanted.scale).astype("<f4").tobytes()
        case Encoding.FLOAT16:
            return _half(_values(grid, unit, wanted.scale))
        case Encoding.PNG_GREY:
            return png(grey(unit, signed))
    picture = _picture(prepared, contract, wanted.geometry)
    if wanted.encoding is Encoding.PNG_OVERLAY:
        drawn = overlay(vivid(unit, grid.validity), signed, picture, wanted.overlay_alpha)
    else:
        fill = _on_picture(to_pixels(fill_tensor, contract), prepared, wanted.geometry)
        drawn = masked(mask.unit(signed=False), picture, fill)
    return png(striped(drawn, picture, grid.validity))


@dataclass(frozen=True)
class _Grid:
    """Raw values float32 [h, w] on their grid, zero where unseen, with the extremes of the seen."""

    values: NDArray[np.float32]
    minimum: float
    maximum: float
    validity: NDArray[np.bool_] | None

    @property
    def flat(self) -> bool:
        return is_flat(self.minimum, self.maximum)

    def unit(self, signed: bool) -> NDArray[np.float32]:
        """float32 [h, w]: unsigned min–max to [0, 1]; signed over max |v|, zero stays zero."""
        if self.flat:
            return np.zeros_like(self.values)
        if signed:
            greatest = np.float32(max(abs(self.minimum), abs(self.maximum)))
            return np.asarray(self.values / greatest, np.float32)
        low, span = np.float32(self.minimum), np.float32(self.maximum - self.minimum)
        unit = np.asarray(np.clip((self.values - low) / span, 0, 1), np.float32)
        return unit if self.validity is None else unit * self.validity


def _on_grid(raw: NDArray[np.float32], prepared: Prepared, geometry: Geometry) -> _Grid:
    placement = prepared.placement
    if geometry is Geometry.FEATURE:
        return _whole(raw)
    if geometry is Geometry.INPUT:
        return _whole(upsample(raw, placement.height, placement.width))
    values, validity = placement.to_original(raw), placement.validity()
    if validity.all():
        return _whole(values)
    if not validity.any():  # The crop fell between the centres of a handful of pixels.
        return _Grid(np.zeros_like(values), 0.0, 0.0, validity)
    seen = values[validity]
    return _Grid(values * validity, float(seen.min()), float(seen.max()), validity)


def _as_scored(grid: _Grid, raw: NDArray[np.float32], prepared: Prepared) -> _Grid:
    """The grid, to be scaled as the row that is scored: over the whole input, border and all."""
    whole = _on_grid(raw, prepared, Geometry.INPUT)
    return replace(grid, minimum=whole.minimum, maximum=whole.maximum)


def _whole(values: NDArray[np.float32]) -> _Grid:
    return _Grid(values, float(values.min()), float(values.max()), None)


def _values(grid: _Grid, unit: NDArray[np.float32], scale: Scale) -> NDArray[np.float32]:
    return grid.values if scale is Scale.RAW else unit


def _half(values: NDArray[np.float32]) -> bytes:
    """Refuses what float16 would turn to infinity, or as a whole to zero or to a few steps."""
    greatest = float(np.abs(values).max())
    if greatest and not LEAST_HALF <= greatest <= GREATEST_HALF:
        raise InvalidRequest(
            f"the map's raw values reach {greatest:.3g}, which float16 cannot hold "
            f"({LEAST_HALF:.3g} to {GREATEST_HALF:g}): use float32, or the unit scale",
            field="format.encoding",
        )
    return values.astype("<f2").tobytes()


def _picture(prepared: Prepared, contract: InputContract, geometry: Geometry) -> NDArray[np.uint8]:
    """The image on the map's grid, uint8 [h, w, 3]."""
    if geometry is Geometry.INPUT:
        return three_channels(to_pixels(prepared.tensor, contract))
    return three_channels(prepared.original)


def _on_picture(
    fill: NDArray[np.uint8], prepared: Prepared, geometry: Geometry
) -> NDArray[np.uint8]:
    """The fill's pixels [H, W, C] on the map's grid, uint8 [h, w, 3]."""
    if geometry is Geometry.INPUT:
        return three_channels(fill)
    channels = [
        np.rint(prepared.placement.to_original(plane.astype(np.float32))).astype(np.uint8)
        for plane in np.moveaxis(fill, 2, 0)
    ]
    return three_channels(np.stack(channels, axis=-1))
