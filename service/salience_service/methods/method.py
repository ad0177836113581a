"""A method as the table lists it: its words, its options, its generator and what it needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol

from salience_service.bundle.manifest import GraphRole, InputContract, Tap
from salience_service.methods.options import Options, OptionsT
from salience_service.methods.probe import Base, MethodRun


class TapRule(Enum):
    """How many taps a method reads, and which by default."""

    ONE = "one"
    """Exactly one; by default the last."""
    MANY = "many"
    """One or more; by default the last of each resolution."""
    FUSED = "fused"
    """One or more, whose maps are fused; by default the last."""
    NONE = "none"


@dataclass(frozen=True)
class Extent:
    """The sizes that decide how many rows a method asks for, and what it works with.

    Attributes:
        channels: of each tap used, coarse to fine.
        height: rows of the model's input.
        width: columns of the model's input.
        features: numbers of each tap used, likewise.
        sizes: rows and columns of each tap used, likewise.
    """

    channels: tuple[int, ...]
    height: int
    width: int
    features: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()


def extent(taps: Sequence[Tap], contract: InputContract) -> Extent:
    """The extent of these taps on a model's input."""
    return Extent(
        tuple(tap.channels for tap in taps),
        contract.height,
        contract.width,
        tuple(tap.channels * tap.height * tap.width for tap in taps),
        tuple((tap.height, tap.width) for tap in taps),
    )


class Sampled(Protocol):
    """Options that say how many samples a map is made of."""

    @property
    def samples(self) -> int:
        """How many."""
        ...


def no_rows(extent: Extent, options: Options) -> int:  # noqa: ARG001
    """None: the features alone are read, or nothing is."""
    return 0


def one_gradient(extent: Extent, options: Options) -> int:  # noqa: ARG001
    """To the image, or to all taps at once."""
    return 1


def row_a_channel(extent: Extent, options: Options) -> int:  # noqa: ARG001
    """One a channel at most, and one beside; each is of the network after the tap only."""
    return 1 + sum(extent.channels)


def one_a_sample(extent: Extent, options: Sampled) -> int:  # noqa: ARG001
    """A row, or a gradient to all taps at once."""
    return options.samples


def two_copies(extent: Extent, options: Options) -> int:  # noqa: ARG001
    """Doubles of two copies of the largest tap's features; none where no tap is read."""
    return 2 * max(extent.features, default=0)


@dataclass(frozen=True)
class Method(Generic[OptionsT]):
    """One method.

    Attributes:
        name: its name in a request. summary: one line on what it computes.
        source: the paper it comes from.
        options: its options model.
        run: starts it on a clean run, with its options.
        taps: how many taps it reads.
        rows: rows and gradients that one map will take at most; raises InvalidRequest
            where the options do not fit the extent.
        needs_gradient: it asks for gradients.
        guided: it asks for guided ones, which only the torch side can take.
        graphs: the graphs that it asks for rows of, beyond the masked graph.
        linear_head: it needs a tap that is pooled and weighed by one linear layer.
        class_agnostic: its maps do not depend on the target.
        fails_sanity_checks: its maps hardly change where the network's weights do.
        anytime: whether, with these options, its maps may be drawn from fewer rows than it
            asks for (see `RowProbe`); None: with none.
        working: doubles that it works with at a time at most, beside sums of the input's size.
    """

    name: str
    summary: str
    source: str
    options: type[OptionsT]
    run: Callable[[Base, OptionsT], MethodRun]
    taps: TapRule
    rows: Callable[[Extent, OptionsT], int]
    needs_gradient: bool = False
    guided: bool = False
    graphs: tuple[GraphRole, ...] = ()
    linear_head: bool = False
    class_agnostic: bool = False
    fails_sanity_checks: bool = False
    anytime: Callable[[OptionsT], bool] | None = None
    working: Callable[[Extent, OptionsT], int] = two_copies
