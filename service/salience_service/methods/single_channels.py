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
        rows = np.zeros((part.stop - part.start, self.channels), np.float32)
        first = max(part.start, 1)
        asked = list(self.asked[first - 1 : part.stop - 1])
        rows[np.arange(first, part.stop) - part.start, asked] = 1
        return rows


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
