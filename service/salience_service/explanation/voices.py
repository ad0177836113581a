"""Voices: maps in the making, which ask together where they ask the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from salience_service.events import Convergence
from salience_service.methods.probe import (
    ChannelRows,
    MethodRun,
    Outcome,
    PixelRows,
    Probe,
    RowProbe,
    Rows,
    Series,
)
from salience_service.targets.target import Target


@dataclass(eq=False)
class Voice:
    """One map in the making: a method at work for one target.

    Attributes:
        map_id: the map's number within its answer.
        target: what it explains.
        run: the method.
        probe: what it asks now; None before it began and after it ended.
        outcome: its map, once it ended.
        convergence: how far it had come, where it was allowed to end early.
    """

    map_id: int
    target: Target
    run: MethodRun
    probe: Probe | None = None
    outcome: Outcome | None = None
    convergence: Convergence | None = None

    @property
    def ended(self) -> Outcome:
        """The outcome of a voice that has ended."""
        assert self.outcome is not None
        return self.outcome


def unison(voices: Sequence[Voice]) -> list[Voice]:
    """The first voice, with all that ask for the same rows: one run answers them all.

    Logits of a row hold every class, so that what differs between targets is only what is
    made of them. Gradients are of one target each, and are never shared.
    """
    first = voices[0]
    if not isinstance(first.probe, RowProbe):
        return [first]
    return [voice for voice in voices if _same(voice.probe, first.probe)]


def _same(one: Probe | None, other: RowProbe) -> bool:
    match one, other:
        case Rows(), Rows():
            return _same_series(one.maps, other.maps) and (
                (one.normalise, one.scale, one.shift) == (other.normalise, other.scale, other.shift)
            )
        case PixelRows(), PixelRows():
            return _same_series(one.masks, other.masks)
        case ChannelRows(), ChannelRows():
            same_features = one.features is other.features
            return same_features and one.tap == other.tap and _same_series(one.kept, other.kept)
    return False


def _same_series(one: Series, other: Series) -> bool:
    """Arrays by identity, which is enough for features; series that make masks by equality."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one is other
    return one == other
