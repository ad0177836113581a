"""Rows of a tap that keep each of its channels alone, or all but each; one row is without it."""

from dataclasses import dataclass

import numpy as np

from salience_service.methods.probe import FloatMap


@dataclass(frozen=True)
class EachAlone:
    """First nothing, then each channel alone; float32 [1 + channels, channels], made when cut."""

    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """[1 + K, K]."""
        return (1 + self.channels, self.channels)

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Rows start to stop; row k + 1 has its one at channel k."""
        return np.eye(part.stop - part.start, self.channels, part.start - 1, dtype=np.float32)


@dataclass(frozen=True)
class AllButEach:
    """First everything, then all but each channel; float32 [1 + channels, channels]."""

    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """[1 + K, K]."""
        return (1 + self.channels, self.channels)

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Rows start to stop; row k + 1 has its zero at channel k."""
        return 1 - EachAlone(self.channels)[part]
