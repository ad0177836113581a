"""Tiles of a montage: many small pictures in rows, each over its caption, under one title."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience_client.errors import InvalidRequest
from salience_client.extras import require

TILE_WIDTH = 224
COLUMNS = 6
_GAP, _TITLE_SIZE, _TEXT_SIZE, _LINE = 14, 22, 16, 21
_PAPER, _INK, _GREY = "white", "black", (105, 105, 105)
_ELLIPSIS = "…"


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture of a montage.

    Attributes:
        picture: RGB, uint8 [h, w, 3], as `overlay` draws it.
        caption: what it shows, such as a method's name.
        note: a second line in grey, or empty.
    """

    picture: NDArray[np.uint8]
    caption: str
    note: str = ""


def montage(title: str, tiles: Sequence[Tile], columns: int = COLUMNS) -> NDArray[np.uint8]:
    """Draws pictures in rows, each 224 pixels wide over its caption and note.

    Args:
        title: one line at the top.
        tiles: one or more; their order is that of reading.
        columns: pictures in a row, ≥ 1; fewer where there are fewer tiles.

    Returns:
        RGB, uint8 [h, w, 3]. Lines that are too long end in "…".

    Raises:
        InvalidRequest: no tile, or no column.
        MissingExtra: Pillow is not installed.
    """
    if not tiles or columns < 1:
        raise InvalidRequest("a montage has one or more tiles, in one or more columns")
    pictures = require("PIL.Image", "cli", "drawing a montage")
    drawing = require("PIL.ImageDraw", "cli", "drawing a montage")
    columns = min(columns, len(tiles))
    drawn = [_resized(pictures, tile.picture) for tile in tiles]
    pitch = max(picture.height for picture in drawn) + 2 * _LINE + _GAP
    width = columns * (TILE_WIDTH + _GAP) + _GAP
    top = _TITLE_SIZE + 2 * _GAP
    height = top + math.ceil(len(tiles) / columns) * pitch
    sheet = pictures.new("RGB", (width, height), _PAPER)
    pen = drawing.Draw(sheet)
    _write(pen, (_GAP, _GAP), title, _TITLE_SIZE, _INK, width - 2 * _GAP)
    for place, (tile, picture) in enumerate(zip(tiles, drawn, strict=True)):
        row, column = divmod(place, columns)
        left, above = _GAP + column * (TILE_WIDTH + _GAP), top + row * pitch
        sheet.paste(picture, (left, above))
        below = above + picture.height
        _write(pen, (left, below + 3), tile.caption, _TEXT_SIZE, _INK, TILE_WIDTH)
        _write(pen, (left, below + 3 + _LINE), tile.note, _TEXT_SIZE, _GREY, TILE_WIDTH)
    return np.asarray(sheet, np.uint8)


def _resized(pictures: Any, pixels: NDArray[np.uint8]) -> Any:
    height, width = pixels.shape[:2]
    size = (TILE_WIDTH, max(1, round(TILE_WIDTH * height / width)))
    return pictures.fromarray(pixels).resize(size, pictures.Resampling.BILINEAR)


def _write(pen: Any, place: tuple[int, int], line: str, size: int, colour: Any, width: int) -> None:
    """One line of text, cut to a width in pixels."""
    font = require("PIL.ImageFont", "cli", "drawing a montage").load_default(size)
    words = " ".join(line.split())
    shown = words
    while shown and pen.textlength(shown, font) > width:
        words = words[:-1]
        shown = words.rstrip() + _ELLIPSIS if words else ""
    pen.text(place, shown, colour, font)
