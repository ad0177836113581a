"""Rows of a tap that keep each of its channels alone, or all but each; one row is without it.

Channels that are zero everywhere are not asked for: whatever they weigh, no map shows them.
"""

from dataclasses import dataclass

import numpy as np

from salience_service.methods.channels import Weights
from salience_service.methods.probe import FloatMap


@dataclass(frozen=True)
class EachAlone:
    """First nothing, then each channel alone; float32 [1 + asked, channels], made when cut.

    Attributes:
        channels: of the tap. asked: numbers of those that have a row, in its order.
    """

    channels: int
    asked: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """[1 + asked, channels]."""
        return (1 + len(self.asked), self.channels)

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Rows start to stop; row n + 1 has its one at the n-th channel asked for."""
        ones = np.array((-1, *self.asked)[part])  # No channel is −1: the first row has none.
        return np.asarray(np.arange(self.channels) == ones[:, None], np.float32)


@dataclass(frozen=True)
class AllButEach:
    """First everything, then all but each channel; one minus `EachAlone`."""

    channels: int
    asked: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """[1 + asked, channels]."""
        return (1 + len(self.asked), self.channels)

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Rows start to stop; row n + 1 has its zero at the n-th channel asked for."""
        return 1 - EachAlone(self.channels, self.asked)[part]


def shown_channels(features: FloatMap) -> tuple[int, ...]:
    """Numbers of the channels of features [K, h, w] that are not zero everywhere."""
    return tuple(np.flatnonzero(features.any(axis=(1, 2))).tolist())


def among(channels: int, asked: tuple[int, ...], weights: Weights) -> Weights:
    """Weights of the channels asked for, or the first of them, as those of all: float64 [K]."""
    every: Weights = np.zeros(channels)
    every[list(asked[: len(weights)])] = weights
    return every
