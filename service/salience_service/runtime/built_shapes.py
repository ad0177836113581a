"""Which of a graph's sessions, each built at its own sizes, runs a call."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from salience_service.errors import ComputeFailed


class Shaped(Protocol):
    """Anything with a shape."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...


class BuiltSession(Protocol):
    """A session, as ONNX Runtime's tells its inputs: `name`, and `shape` of sizes or names."""

    def get_inputs(self) -> Sequence[Any]:
        """The graph's inputs; a dimension that was not fixed is a name."""
        ...


S = TypeVar("S", bound=BuiltSession)


def fitting(sessions: Sequence[S], feeds: Mapping[str, Shaped]) -> S:
    """Of the sessions of a graph the one for these feeds; the only one takes all.

    Raises:
        ComputeFailed: none; an engine is never built while somebody waits.
    """
    if len(sessions) == 1:
        return sessions[0]
    for session in sessions:
        if all(_fits(each.shape, feeds[each.name].shape) for each in session.get_inputs()):
            return session
    raise ComputeFailed(
        "no engine was built for rows of this shape: engines are built at start, for the taps' "
        "sizes and the image's, at the batch sizes that are configured"
    )


def _fits(declared: Sequence[int | str], found: Sequence[int]) -> bool:
    return len(declared) == len(found) and all(
        isinstance(wanted, str) or wanted == size
        for wanted, size in zip(declared, found, strict=True)
    )
