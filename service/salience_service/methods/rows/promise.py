"""The order in which a tap's channels are scored: those that promise most of the map first."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from salience_service.methods.channels import Weights
from salience_service.methods.probe import FloatMap


@dataclass(frozen=True, eq=False)
class Promising:
    """A tap's maps as a series, from the one that varies most over its pixels to flat ones.

    The order depends on the features alone, so that all targets share its rows; equal to
    another of the same array. What varies most adds most to Σ_k w_k A_k, whatever its weight.
    Of the orders tried (as they come, at random, standard deviation, norm, mean, greatest
    value) it had the best maps at an eighth, a quarter and half of the rows on a linear tap,
    and maps within 0.01 of the best on a tap behind a ReLU (docs/anytime.md).

    Attributes:
        features: A, float32 [K, h, w].
    """

    features: FloatMap

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Promising) and self.features is other.features

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        """[K, h, w]."""
        return self.features.shape

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Maps start to stop, in the order of promise."""
        return self.features[self.order[part]]

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Channels [K]; equal ones keep their order."""
        return np.argsort(-self._variances, kind="stable")

    def completed(self, scores: Weights) -> Weights:
        """Scores of all channels, float64 [K], in the features' order.

        Args:
            scores: of the first n channels in the order of promise; the others get their mean,
                which beats leaving them out (docs/anytime.md).
        """
        complete = np.full(len(self.features), scores.mean())
        complete[self.order[: len(scores)]] = scores
        return complete

    def left(self, done: int) -> float:
        """What the channels after the first `done` may still add, over what the later half of
        those added: variances, summed. 0 where nothing is left, infinite where nothing is behind.
        """
        variances = self._variances[self.order]
        ahead = float(variances[done:].sum())
        added = float(variances[(done + 1) // 2 : done].sum())
        if not ahead:
            return 0.0
        return ahead / added if added else np.inf

    @cached_property
    def _variances(self) -> NDArray[np.float32]:
        """Of each channel over its pixels, float32 [K]."""
        return np.asarray(self.features.var(axis=(1, 2)))
