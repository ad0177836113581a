"""What is to be explained: a class, an absence, a difference, or a rule that stands for several."""

from dataclasses import dataclass

from salience.v1 import target_pb2 as wire
from salience_client.errors import InvalidRequest

_LARGEST_INDEX = 2**32 - 1


@dataclass(frozen=True)
class Present:
    """One class: an index, or a label taken whole (never split at "-")."""

    ref: int | str


@dataclass(frozen=True)
class Absent:
    """An absent finding: explains minus the logit, scored with 1 − p."""

    ref: int | str


@dataclass(frozen=True)
class Difference:
    """Why this class rather than that one."""

    this: int | str
    that: int | str


@dataclass(frozen=True)
class TopK:
    """The k classes with the highest logits, 1 to 32."""

    k: int


@dataclass(frozen=True)
class AboveThreshold:
    """Every class whose probability exceeds its threshold."""


Target = int | str | Present | Absent | Difference | TopK | AboveThreshold
"""An index, words ("tabby", "not:tabby", "A-B", "top:3", "above-threshold") or a typed target."""


def target_message(target: Target) -> wire.Target:
    """The wire's Target.

    Raises:
        InvalidRequest: a negative index or an unknown form.
    """
    match target:
        case bool():
            pass
        case int():
            return wire.Target(present=_class(target))
        case str():
            return wire.Target(text=target)
        case Present():
            return wire.Target(present=_class(target.ref))
        case Absent():
            return wire.Target(absent=_class(target.ref))
        case Difference():
            difference = wire.Difference(
                this_class=_class(target.this), that_class=_class(target.that)
            )
            return wire.Target(difference=difference)
        case TopK():
            return wire.Target(top_k=wire.TopK(k=_count(target.k)))
        case AboveThreshold():
            return wire.Target(above_threshold=wire.AboveThreshold())
    raise InvalidRequest(f"a target cannot be a {type(target).__name__}: give an index or words")


def _class(ref: int | str) -> wire.ClassRef:
    return wire.ClassRef(label=ref) if isinstance(ref, str) else wire.ClassRef(index=_count(ref))


def _count(number: int) -> int:
    if not 0 <= number <= _LARGEST_INDEX:
        raise InvalidRequest(f"{number} is no class index or count: both start at 0")
    return number
