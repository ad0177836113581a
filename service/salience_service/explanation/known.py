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
from salience_service.methods.probe import FloatMap, GradientAnswer, Gradients, RowProbe, Rows
from salience_service.row_graphs.sources import MaskedImage
from salience_service.targets.target import Target

MOST_BYTES = 2**25
"""Of logits kept for one explanation: those of 8,000 rows of a thousand classes."""
MOST_GRADIENTS = 16

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Alike:
    """Which of some rows must run, and where the logits of each come from.

    Attributes:
        keys: of each row. fresh: those to run, in their order: none is known or like another.
        place: of each row, where its like stands among the fresh; −1 where it is known.
        known: logits of each row that is known, by its number.
    """

    keys: Sequence[bytes]
    fresh: NDArray[np.intp]
    place: NDArray[np.intp]
    known: dict[int, Logits]

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
        self._bytes = 0
        self._gradients: dict[Hashable, GradientAnswer] = {}

    def alike(self, probe: RowProbe, image: MaskedImage) -> Alike | None:
        """How the rows of a probe repeat; None where all must run.

        Only rows of small maps are compared, all of them there: of masks of the image's size
        each is random, or one of a kind.
        """
        if not isinstance(probe, Rows):
            return None
        keys = _keys(probe.maps[0 : probe.maps.shape[0]], probe, image)
        known = {row: self._rows[key] for row, key in enumerate(keys) if key in self._rows}
        first: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if row not in known:
                first.setdefault(key, row)
        places = {key: place for place, key in enumerate(first)}
        place = np.array([places.get(key, -1) for key in keys], np.intp)
        return Alike(keys, np.array([*first.values()], np.intp), place, known)

    def keep_rows(self, alike: Alike, logits: Logits) -> None:
        """Keeps logits [n, K] of the first rows, as far as there is room."""
        if self._keeps:
            for row in alike.fresh[alike.fresh < len(logits)]:
                if self._bytes + logits[row].nbytes > MOST_BYTES:
                    return
                self._rows[alike.keys[row]] = logits[row].copy()  # A view would hold them all.
                self._bytes += logits[row].nbytes

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
