"""Masks of a tap's channels with Gaussian noise upon them, made as they are needed."""

from dataclasses import dataclass

import numpy as np

from salience_service.interpolation import unit_range, upsample
from salience_service.methods.probe import FloatMap


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of a sample, at the size of the model's input.

    Attributes:
        sigma: standard deviation.
        seed: what it is drawn from, with `sample` and, unless `shared`, the channel.
        shared: whether all channels have the same.
    """

    sigma: float
    seed: int
    sample: int
    shared: bool

    def of(self, channel: int, height: int, width: int) -> FloatMap:
        """The noise of a channel, float32 [height, width]; the same at every call."""
        place = (self.sample,) if self.shared else (self.sample, channel)
        drawn = np.random.default_rng((self.seed, *place))
        return np.float32(self.sigma) * drawn.standard_normal((height, width), np.float32)


@dataclass(frozen=True, eq=False)
class NoisyMasks:
    """n(up(A_k)) + ε, float32 [K, height, width]; not held in [0, 1].

    Equal to other masks of the same array of features and the same noise.

    Attributes:
        features: A, float32 [K, h, w].
    """

    features: FloatMap
    height: int
    width: int
    noise: Noise

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NoisyMasks) or self.features is not other.features:
            return False
        return self.shape == other.shape and self.noise == other.noise

    __hash__ = None  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        """[K, height, width]."""
        return (len(self.features), self.height, self.width)

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Masks of channels start to stop."""
        masks = unit_range(upsample(self.features[part], self.height, self.width))
        for mask, channel in zip(masks, range(part.start, part.stop), strict=True):
            mask += self.noise.of(channel, self.height, self.width)
        return masks
