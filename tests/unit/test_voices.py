"""Voices: who shares a run of rows, and who asks alone."""

from dataclasses import dataclass

import numpy as np
import pytest

from salience_service.explanation.voices import Voice, unison
from salience_service.methods.probe import ChannelRows, Gradients, PixelRows, Probe, Rows
from tests.support.answering import class_target

MAPS = np.zeros((3, 2, 2), np.float32)
KEPT = np.ones((3, 4), np.float32)
IMAGE = np.zeros((3, 4, 4), np.float32)


@dataclass(frozen=True)
class Ramp:
    """Masks made when they are cut; equal to another of the same height."""

    height: float

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, 4, 4)

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.full((part.stop - part.start, 4, 4), self.height, np.float32)


def voices(*probes: Probe) -> list[Voice]:
    return [
        Voice(number, class_target(number), iter(()), probe)  # type: ignore[arg-type]
        for number, probe in enumerate(probes)
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Rows(MAPS), Rows(MAPS, preview=lambda _: None)),  # type: ignore[arg-type, return-value]
        (Rows(MAPS, scale=0.5), Rows(MAPS, scale=0.5)),
        (PixelRows(Ramp(1)), PixelRows(Ramp(1))),
        (ChannelRows("last", KEPT), ChannelRows("last", KEPT)),
    ],
    ids=["maps", "scaled", "series", "channels"],
)
def test_voices_that_ask_for_the_same_rows_are_answered_by_one_run(
    one: Probe, other: Probe
) -> None:
    asking = voices(one, other)
    assert unison(asking) == asking


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Rows(MAPS), Rows(MAPS + 1)),
        (Rows(MAPS), Rows(MAPS, normalise=False)),
        (Rows(MAPS), Rows(MAPS, scale=-1, shift=1)),
        (PixelRows(Ramp(1)), PixelRows(Ramp(2))),
        (PixelRows(Ramp(1)), Rows(MAPS)),
        (ChannelRows("last", KEPT), ChannelRows("first", KEPT)),
        (ChannelRows("last", KEPT), ChannelRows("last", KEPT, MAPS)),
        (Gradients(IMAGE, of_image=True), Gradients(IMAGE, of_image=True)),
        (Rows(MAPS), Gradients(IMAGE)),
    ],
    ids=[
        "other maps", "not normalised", "inverted", "other series", "other kind", "other tap",
        "other features", "gradients", "mixed",
    ],
)  # fmt: skip
def test_voices_that_ask_for_different_things_go_on_alone(one: Probe, other: Probe) -> None:
    asking = voices(one, other)
    assert unison(asking) == asking[:1]


def test_one_who_differs_does_not_part_the_others() -> None:
    first, odd, last = asking = voices(Rows(MAPS), Rows(MAPS, scale=2), Rows(MAPS))
    assert unison(asking) == [first, last]
    assert unison([odd, first, last]) == [odd]
