"""A method as the table lists it: its words, its options, its generator and what it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic

from salience_service.methods.options import OptionsT
from salience_service.methods.probe import Base, MethodRun


class TapRule(Enum):
    """How many taps a method reads, and which by default."""

    ONE = "one"
    """Exactly one; by default the last."""
    MANY = "many"
    """One or more; by default the last of each resolution."""
    NONE = "none"


@dataclass(frozen=True)
class Method(Generic[OptionsT]):
    """One method.

    Attributes:
        name: its name in a request. summary: one line on what it computes.
        source: the paper it comes from.
        options: its options model.
        run: starts it on a clean run, with its options.
        taps: how many taps it reads.
        rows: rows and gradients that it will ask for at most, from the channels of
            each tap used and the options.
        needs_gradient: it asks for gradients.
        class_agnostic: its maps do not depend on the target.
    """

    name: str
    summary: str
    source: str
    options: type[OptionsT]
    run: Callable[[Base, OptionsT], MethodRun]
    taps: TapRule
    rows: Callable[[tuple[int, ...], OptionsT], int]
    needs_gradient: bool = False
    class_agnostic: bool = False
