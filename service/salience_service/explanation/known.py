"""What an explanation has had answered: rows and gradients that are alike run once, exactly.

A row's bits depend neither on its place in a batch nor on its neighbours, and a gradient runs
alone: an answer found before is the answer that asking again would bring.
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.events import GradientSide
from salience_service.interpolation import FLAT
from salience_service.methods.probe import (
    FloatMap,
    GradientAnswer,
    Gradients,
    PixelRows,
    RowProbe,
    Rows,
)
from salience_service.row_graphs.sources import MaskedImage
from salience_service.targets.target import Target

MOST_BYTES = 2**25
"""Of logits kept for one explanation: those of 8,000 rows of a thousand classes."""
MOST_GRADIENTS = 16
MOST_SERIES = 8
NEARLY_FLAT = 64 * FLAT
"""A map is left as it is where its range is at most this share of its greatest absolute value:
whether it is flat is judged once it is upsampled, which takes some of its range."""

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Alike:
    """Which of some rows must run, and where the logits of each come from.

    Attributes:
        keys: of each row. fresh: those to run, in their order: none is known or like another.
        place: of each row, where its like stands among the fresh; −1 where it is known.
        known: logits of each row that is known, by its number.
        maps: of each row, as it is sent, float32 [N, h, w].
    """

    keys: Sequence[bytes]
    fresh: NDArray[np.intp]
    place: NDArray[np.intp]
    known: dict[int, Logits]
    maps: FloatMap

    @property
    def repeated(self) -> int:
        """Rows that need not run."""
        return len(self.keys) - len(self.fresh)


class Known:
    """Remembers what one explanation has had answered; bounded, and gone with it.

    Args:
        image: the clean image, float32 [C, H, W].
        keeps: whether answers are kept for later questions; of one method asked for alone no
            question comes twice, but rows of one question may still be alike.
    """

    def __init__(self, image: FloatMap, keeps: bool) -> None:
        self._image = image
        self._keeps = keeps
        self._rows: dict[bytes, Logits] = {}
        self._series: dict[Hashable, Logits] = {}
        self._bytes = 0
        self._gradients: dict[Hashable, GradientAnswer] = {}

    def alike(self, probe: RowProbe, image: MaskedImage) -> Alike | None:
        """How the rows of a probe repeat; None where all must run.

        Only rows of small maps are compared, all of them there: of masks of the image's size
        each is random, or one of a kind, and only their `series` may be known.
        """
        if not isinstance(probe, Rows):
            return None
        maps = probe.maps[0 : probe.maps.shape[0]]
        if probe.normalise:
            maps = _in_unit_range(maps)
        keys = _keys(maps, probe, image)
        known = {row: self._rows[key] for row, key in enumerate(keys) if key in self._rows}
        first: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if row not in known:
                first.setdefault(key, row)
        places = {key: place for place, key in enumerate(first)}
        place = np.array([places.get(key, -1) for key in keys], np.intp)
        return Alike(keys, np.array([*first.values()], np.intp), place, known, maps)

    def keep_rows(self, alike: Alike, logits: Logits) -> None:
        """Keeps logits [n, K] of the first rows, as far as there is room; series make way."""
        if self._keeps:
            for row in alike.fresh[alike.fresh < len(logits)]:
                while self._series and self._bytes + logits[row].nbytes > MOST_BYTES:
                    self._bytes -= self._series.pop(next(iter(self._series))).nbytes
                if self._bytes + logits[row].nbytes > MOST_BYTES:
                    return
                self._rows[alike.keys[row]] = logits[row].copy()  # A view would hold them all.
                self._bytes += logits[row].nbytes

    def series(self, probe: RowProbe, image: MaskedImage) -> Logits | None:
        """Logits [N, K] of masks of the image's size, of a series that was answered before."""
        return self._series.get(_series(probe, image))

    def keep_series(self, probe: RowProbe, image: MaskedImage, logits: Logits) -> None:
        """Keeps logits [n, K] of such a series, if they are of all its rows and there is room."""
        asked = _series(probe, image)
        if not self._keeps or asked is None or asked in self._series:
            return
        whole = isinstance(probe, PixelRows) and len(logits) == probe.masks.shape[0]
        room = self._bytes + logits.nbytes <= MOST_BYTES and len(self._series) < MOST_SERIES
        if whole and room:
            self._series[asked] = logits
            self._bytes += logits.nbytes

    def gradient(
        self, probe: Gradients, target: Target, side: GradientSide
    ) -> GradientAnswer | None:
        """The answer to a question for gradients that was asked before."""
        if probe.image is not self._image:
            return None
        return self._gradients.get(_question(probe, target, side))

    def keep_gradient(
        self, probe: Gradients, target: Target, side: GradientSide, answer: GradientAnswer
    ) -> None:
        """Keeps the answer to a question of the clean image, as far as there is room."""
        of_clean = probe.image is self._image
        if self._keeps and of_clean and len(self._gradients) < MOST_GRADIENTS:
            self._gradients[_question(probe, target, side)] = answer


def _question(probe: Gradients, target: Target, side: GradientSide) -> Hashable:
    """What is asked of the clean image, the only one whose answers are kept."""
    return frozenset(probe.taps), probe.of_image, probe.guided, target, side


def _series(probe: RowProbe, image: MaskedImage) -> Hashable | None:
    """Equal for series of pixel masks that say they make the same, over the same image."""
    if isinstance(probe, PixelRows) and isinstance(probe.masks, Hashable):
        return probe.masks, image
    return None


def _in_unit_range(maps: FloatMap) -> FloatMap:
    """The maps [N, h, w] min–maxed, but for those that are flat or nearly so, or not finite.

    Once upsampled and min–maxed they are what they would have been but for rounding; and maps
    that differ in height and scale alone, such as those of one live pixel, are then the same.
    """
    least, most = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        span = most - least
        clear = (span > NEARLY_FLAT * np.maximum(np.abs(least), np.abs(most))) & (span < np.inf)
    lowered: FloatMap = maps - np.where(clear, least, np.float32(0))
    lowered /= np.where(clear, span, np.float32(1))
    return lowered


def _keys(maps: FloatMap, probe: Rows, image: MaskedImage) -> list[bytes]:
    """Equal for rows that are the same computation on the same numbers."""
    about = repr((id(image), maps.shape[1:], probe.normalise, probe.scale, probe.shift)).encode()
    least, most = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
    # A flat map that is min–maxed is zeros, whatever its height.
    flat = (least == most) & probe.normalise
    zeros = hashlib.sha256(about + b"flat").digest()
    return [
        zeros if is_flat else hashlib.sha256(about + each.tobytes()).digest()
        for each, is_flat in zip(maps, flat, strict=True)
    ]
