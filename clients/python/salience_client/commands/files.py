"""Writes maps: METHOD.npy with the numbers and METHOD.png with the overlay."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from salience_client.extras import require
from salience_client.picture import ImageSource, overlay
from salience_client.saliency_map import SaliencyMap

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_STEM = 120


@dataclass(frozen=True)
class WrittenMap:
    """The files of one map that are written; its numbers come before its overlay."""

    array: Path
    picture: Path | None = None


def make_writable(directory: Path) -> None:
    """Makes a directory if it is not there, and a file in it that is gone at once.

    Raises:
        OSError: it cannot be made, or no file in it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=directory):
        pass


def write_maps(
    maps: Sequence[SaliencyMap], image: ImageSource, resize: str, directory: Path
) -> Iterator[tuple[int, WrittenMap]]:
    """Writes every map in input geometry: float32 [H, W], and its overlay.

    Args:
        maps: float32 maps of one image.
        image: the image as it was sent.
        resize: the model's resize rule: "short-side", "stretch" or "pad".
        directory: is there.

    Yields:
        A map's id and its files, after each file: what is there if the next cannot be written.
    """
    for map_, stem in zip(maps, file_stems(maps), strict=True):
        # Not `with_suffix`: names of methods and targets may hold dots.
        array, picture = directory / f"{stem}.npy", directory / f"{stem}.png"
        np.save(array, map_.array, allow_pickle=False)
        yield map_.map_id, WrittenMap(array)
        write_png(overlay(image, map_, resize=resize), picture)
        yield map_.map_id, WrittenMap(array, picture)


def file_stems(maps: Sequence[SaliencyMap]) -> list[str]:
    """A file name without ending for each map: METHOD, or METHOD.TARGET for several targets.

    Only letters, digits, dots, dashes and underscores are kept, and no two are the same
    even where file names do not know capitals.
    """
    several = len({map_.target.name for map_ in maps}) > 1
    stems: list[str] = []
    taken: set[str] = set()
    for map_ in maps:
        words = [map_.method, map_.target.name] if several else [map_.method]
        stem = ".".join(_safe(word) for word in words)[:_LONGEST_STEM]
        while stem.lower() in taken:
            stem = f"{stem}.{map_.map_id}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def _safe(word: str) -> str:
    return _UNSAFE.sub("-", word).strip(".-") or "map"


def write_png(pixels: NDArray[np.uint8], file: Path) -> None:
    """Writes RGB, uint8 [h, w, 3]."""
    require("PIL.Image", "cli", "writing a PNG").fromarray(pixels).save(file, "PNG")
