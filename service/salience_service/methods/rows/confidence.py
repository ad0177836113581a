"""Weights of channels by what showing or hiding them does to the confidence (Poly-CAM)."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.asking import finite, scored
from salience_service.methods.channels import Weights
from salience_service.methods.probe import Answer, Base, Partial, Probe, Rows, Series

Change = Literal["plus", "minus", "plus-minus"]


def rows_each(change: Change) -> int:
    """Rows that a channel takes: shown, hidden, or both."""
    return 2 if change == "plus-minus" else 1


@dataclass(frozen=True)
class Confidence:
    """Finds w_k of one tap: equations 4 (plus), 5 (minus) and 6 (plus-minus) of Poly-CAM.

    f is the target's probability (a regression's value); f(X_b) is zero. A channel not
    tried yet counts as showing nothing (0) and hiding nothing (f(X)), so that a map can
    be drawn at any time.

    Attributes:
        base: the clean run.
        masks: float32 [K, h, w]. normalise: whether they are min–maxed after upsampling.
        change: which equation.
        draw: the map from weights [K] and the rows behind them; None draws nothing.
    """

    base: Base
    masks: Series
    normalise: bool
    change: Change
    draw: Callable[[Weights, int], Partial] | None = None

    def weights(self) -> Generator[Probe, Answer, Weights]:
        """Has the rows run; float64 [K]."""
        score = self.base.target.confidence
        channels = self.masks.shape[0]
        shown, hidden = np.zeros(channels), np.full(channels, self._clean)
        if self.change != "minus":
            preview = self._preview(lambda known: (_begun(shown, known), hidden), 0)
            shown = yield from scored(Rows(self.masks, self.normalise, preview=preview), score)
        if self.change != "plus":
            before = 0 if self.change == "minus" else len(shown)
            preview = self._preview(lambda known: (shown, _begun(hidden, known)), before)
            rows = Rows(self.masks, self.normalise, scale=-1, shift=1, preview=preview)
            hidden = yield from scored(rows, score)
        return self._weighed(shown, hidden)

    @property
    def _clean(self) -> float:
        """f(X)."""
        return float(self.base.target.confidence(self.base.logits))

    def _weighed(self, shown: Weights, hidden: Weights) -> Weights:
        """w+, w− or w±, of f with the channel shown and with it hidden."""
        if self.change == "plus":
            return shown
        if self.change == "minus":
            return np.maximum(self._clean - hidden, 0)
        return np.maximum(self._clean + shown - hidden, 0)

    def _preview(
        self, with_known: Callable[[Weights], tuple[Weights, Weights]], before: int
    ) -> Callable[[NDArray[np.float32]], Partial] | None:
        """Draws from the logits so far, `before` rows having run in an earlier probe."""
        draw = self.draw
        if draw is None:
            return None

        def drawn(logits: NDArray[np.float32]) -> Partial:
            shown, hidden = with_known(finite(self.base.target.confidence(logits)))
            return draw(self._weighed(shown, hidden), before + len(logits))

        return drawn


def _begun(assumed: Weights, known: Weights) -> Weights:
    """The known scores, and the assumed ones behind them."""
    return np.concatenate([known, assumed[len(known) :]])
