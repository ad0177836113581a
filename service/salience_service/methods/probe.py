"""What a method says to the engine and hears back: probes, answers, partial maps, the outcome.

A method is a pure generator: it gets a `Base` and its options, yields probes, is
sent answers, may yield `Partial`s (it is sent None), and returns an `Outcome`. It
knows no clock, thread, message or session.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import ColourOrder
from salience_service.targets.target import Target

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
        colour_order: of the channels of both.
    """

    features: Mapping[str, FloatMap]
    logits: NDArray[np.float32]
    target: Target
    image: NDArray[np.float32]
    fill: NDArray[np.float32]
    colour_order: ColourOrder = ColourOrder.RGB

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


class Series(Protocol):
    """Masks in a row, float32 [N, …], cut as they are needed; an array is one.

    One that makes its masks when it is cut holds few of them at a time. What it makes must
    depend on their places alone, and it must equal another that makes the same.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, …]."""
        ...

    def __getitem__(self, part: slice, /) -> FloatMap:
        """Masks start to stop, float32 [n, …]; `part` has both, and no step."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class RowProbe:
    """Rows to score: forwards of the image, each perturbed its own way. Answered by `RowAnswers`.

    Attributes:
        preview: draws the map in the making from the logits [n, classes] of the first
            n rows; None where nothing can be drawn yet. It is asked with ever more rows.
        anytime: whether it may be answered with fewer rows than it asks for, as few as one;
            its previews then tell their correlation.
        spared: rows that the method counts on, and found that its map does not need.
    """

    preview: "Callable[[NDArray[np.float32]], Partial] | None" = None
    anytime: bool = False
    spared: int = 0


@dataclass(frozen=True, eq=False)
class Rows(RowProbe):
    """Rows whose masks are small maps.

    The mask of a row is scale · n(up(map)) + shift, with n min–max where `normalise`;
    the row is fill + mask · (image − fill).

    Attributes:
        maps: float32 [N, h, w], N ≥ 1.
    """

    maps: Series
    normalise: bool = True
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True, eq=False)
class PixelRows(RowProbe):
    """Rows whose masks have the size of the model's input; fill + mask · (image − fill).

    Attributes:
        masks: float32 [N, H, W], N ≥ 1.
    """

    masks: Series


@dataclass(frozen=True, eq=False)
class ChannelRows(RowProbe):
    """Rows that go on from a tap, each channel of which is weighed by a number.

    Attributes:
        tap: where they go on from, among the taps of the `Base`.
        kept: float32 [N, K], N ≥ 1: channel k of row n is kept[n, k] · A_k.
        features: float32 [K, h, w] that stand for A; None: the image's own.
    """

    tap: str
    kept: Series
    features: FloatMap | None = None


@dataclass(frozen=True)
class RowAnswers:
    """Logits of the rows, float32 [N, classes], in their order; of fewer where `anytime`."""

    logits: NDArray[np.float32]


@dataclass(frozen=True)
class MapGradient:
    """Ask for the target's value of one masked row and its gradient to the map.

    The mask is that of `Rows`: scale · n(up(map)) + shift, with n min–max where `normalise`.

    Attributes:
        map: float32 [h, w].
    """

    map: FloatMap
    normalise: bool = True
    scale: float = 1.0
    shift: float = 0.0


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
        guided: whether negative gradients are stopped at every ReLU on the way (guided
            backpropagation); only the torch side can, and a method that asks says so in the table.
    """

    image: NDArray[np.float32]
    taps: tuple[str, ...] = ()
    of_image: bool = False
    guided: bool = False


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

    The tap is empty for a map on the model's input. The correlation is the estimated one
    with the map of all rows, in [−1, 1]; None where the method does not tell.
    """

    map: FloatMap
    tap: str
    fraction: float
    correlation: float | None = None


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


Probe = RowProbe | MapGradient | Gradients | Partial
Answer = RowAnswers | MapGradientAnswer | GradientAnswer | None
MethodRun = Generator[Probe, Answer, Outcome]
