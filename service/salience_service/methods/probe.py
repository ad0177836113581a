"""What a method says to the engine and hears back: probes, answers, partial maps, the outcome.

A method is a pure generator: it gets a `Base` and its options, yields probes, is
sent answers, may yield `Partial`s (it is sent None), and returns an `Outcome`. It
knows no clock, thread, message or session.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from salience_service.target import Target

FloatMap = NDArray[np.float32]


@dataclass(frozen=True)
class Base:
    """The clean run of one image, as a method sees it.

    Attributes:
        features: per tap used, coarse to fine, float32 [K, h, w].
        logits: float32 [classes].
        target: what is explained.
        image: float32 [C, H, W], the model's own numbers.
        fill: float32 [C, H, W], what stands for nothing there, in the same numbers.
    """

    features: Mapping[str, FloatMap]
    logits: NDArray[np.float32]
    target: Target
    image: NDArray[np.float32]
    fill: NDArray[np.float32]

    @property
    def height(self) -> int:
        """Rows of the model's input."""
        return int(self.image.shape[1])

    @property
    def width(self) -> int:
        """Columns of the model's input."""
        return int(self.image.shape[2])

    @property
    def tap(self) -> str:
        """The one tap of a single-tap method."""
        return next(iter(self.features))


@dataclass(frozen=True)
class Rows:
    """Rows to score: the image composed with each map. Answered by `RowAnswers`.

    The mask of a row is scale · n(up(map)) + shift, with n min–max where `normalise`;
    the row is fill + mask · (image − fill).

    Attributes:
        maps: float32 [N, h, w], N ≥ 1.
        preview: draws the map in the making from the logits [n, classes] of the first
            n rows; None where nothing can be drawn yet.
    """

    maps: FloatMap
    normalise: bool = True
    scale: float = 1.0
    shift: float = 0.0
    preview: Callable[[NDArray[np.float32]], "Partial"] | None = None


@dataclass(frozen=True)
class RowAnswers:
    """Logits of the rows, float32 [N, classes], in their order."""

    logits: NDArray[np.float32]


@dataclass(frozen=True)
class MapGradient:
    """Ask for the target's value of one masked row and its gradient to the map.

    Attributes:
        map: float32 [h, w]; the mask is n(up(map)).
    """

    map: FloatMap


@dataclass(frozen=True)
class MapGradientAnswer:
    """The target's value of the row, and d value / d map, float32 [h, w]."""

    value: float
    gradient: FloatMap


@dataclass(frozen=True)
class Gradients:
    """Ask for the target's value of one image and its gradients. Answered by `GradientAnswer`.

    Attributes:
        image: float32 [C, H, W], the model's own numbers.
        taps: taps whose gradients are wanted, among those of the `Base`.
        of_image: whether the image's own is wanted.
    """

    image: NDArray[np.float32]
    taps: tuple[str, ...] = ()
    of_image: bool = False


@dataclass(frozen=True)
class GradientAnswer:
    """The target's value, and d value / d image and d value / d tap, as far as wanted.

    Attributes:
        value: the target's value of the image.
        image: float32 [C, H, W], or None.
        taps: per tap float32 [K, h, w].
    """

    value: float
    image: NDArray[np.float32] | None
    taps: Mapping[str, FloatMap]


@dataclass(frozen=True)
class Partial:
    """A map in the making: float32 [h, w], its tap, and the share of work behind it.

    The tap is empty for a map on the model's input.
    """

    map: FloatMap
    tap: str
    fraction: float


@dataclass(frozen=True)
class Outcome:
    """A finished map.

    Attributes:
        map: float32 [h, w], raw.
        signed: True where negative values mean evidence against.
        iterations: steps taken, for iterative methods.
        converged: False where iteration ended at its limit.
    """

    map: FloatMap
    signed: bool = False
    iterations: int | None = None
    converged: bool = True


Probe = Rows | MapGradient | Gradients | Partial
Answer = RowAnswers | MapGradientAnswer | GradientAnswer | None
MethodRun = Generator[Probe, Answer, Outcome]
