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
        height: rows of the model's input. width: columns.
    """

    features: Mapping[str, FloatMap]
    logits: NDArray[np.float32]
    target: Target
    height: int
    width: int

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
class Partial:
    """A map in the making: float32 [h, w], its tap, and the share of work behind it."""

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


Probe = Rows | MapGradient | Partial
Answer = RowAnswers | MapGradientAnswer | None
MethodRun = Generator[Probe, Answer, Outcome]
