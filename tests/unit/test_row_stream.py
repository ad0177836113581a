"""Rows in parts: masks are made late and let go early, logits come back in order."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from salience_service.errors import ComputeFailed
from salience_service.explanation.row_stream import PART_BATCHES, RowStream, parts_ahead

BATCH = 2
PART = PART_BATCHES * BATCH
PARTS_AHEAD = parts_ahead(1)


@dataclass
class Counted:
    """Masks that hold their own number, with a note of what was cut."""

    size: int
    cut: list[tuple[int, int]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size, 1, 1)

    def __getitem__(self, part: slice) -> np.ndarray:
        self.cut.append((part.start, part.stop))
        return np.arange(part.start, part.stop, dtype=np.float32)[:, None, None]


class FakeTicket:
    """Completes as many rows a wait as it is told, oldest first."""

    def __init__(self, masks: np.ndarray, pace: int) -> None:
        self.size, self.logits, self.done, self.pace = len(masks), masks[:, :, 0], 0, pace
        self.dropped = False

    def wait(self, beyond: int, timeout: float) -> int:
        assert beyond == self.done, "the stream has lost count"
        self.done = min(self.size, self.done + self.pace)
        return self.done

    def drop(self) -> None:
        self.dropped = True


def run(masks: Counted, pace: int = 3, lanes: int = 1) -> tuple[RowStream, list[FakeTicket]]:
    """A stream, and the tickets that it queues."""
    queued: list[FakeTicket] = []

    def queue(part: np.ndarray) -> FakeTicket:
        queued.append(FakeTicket(part, pace))
        return queued[-1]

    return RowStream(masks, BATCH, queue, lanes), queued  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 5 * PART + 3])
@pytest.mark.parametrize("pace", [1, 3, PART])
def test_logits_come_back_in_the_order_of_the_masks(size: int, pace: int) -> None:
    stream, _ = run(Counted(size), pace)
    told = 0
    while stream.done < stream.size:
        told += stream.wait(1)
        assert told == stream.done == len(stream.logits)
    np.testing.assert_array_equal(stream.logits[:, 0], np.arange(size))


def test_masks_are_cut_no_earlier_than_their_part_is_queued() -> None:
    masks = Counted(10 * PART)
    stream, _ = run(masks, PART)
    assert len(masks.cut) == PARTS_AHEAD
    stream.wait(1)
    assert len(masks.cut) == PARTS_AHEAD + 1


@pytest.mark.parametrize("lanes", [1, 2, 4, 5, 16])
def test_what_waits_fills_every_lane_while_the_oldest_part_runs(lanes: int) -> None:
    masks = Counted(100 * PART)
    run(masks, PART, lanes)
    assert len(masks.cut) == parts_ahead(lanes)
    assert (len(masks.cut) - 1) * PART_BATCHES >= lanes


def test_a_wait_that_ends_without_rows_changes_nothing() -> None:
    stream, _ = run(Counted(PART), pace=0)
    assert stream.wait(0.1) == 0
    assert (stream.done, len(stream.logits)) == (0, 0)


def test_a_stream_that_is_ended_drops_what_waits_and_queues_no_more() -> None:
    masks = Counted(10 * PART)
    stream, queued = run(masks, PART - 1)
    stream.wait(1)
    assert stream.end() == 9 * PART + 1
    assert [ticket.dropped for ticket in queued] == [True] * PARTS_AHEAD
    assert len(masks.cut) == PARTS_AHEAD
    np.testing.assert_array_equal(stream.logits[:, 0], np.arange(PART - 1))


def test_a_stream_that_is_done_has_nothing_to_drop() -> None:
    stream, queued = run(Counted(3), 3)
    stream.wait(1)
    assert stream.end() == 0
    assert not queued[0].dropped


def test_a_failed_part_ends_the_stream() -> None:
    class Failing(FakeTicket):
        def wait(self, beyond: int, timeout: float) -> int:
            raise ComputeFailed("the model failed on the device")

    stream = RowStream(
        Counted(3),
        BATCH,
        lambda part: Failing(part, 1),  # type: ignore[arg-type, return-value]
    )
    with pytest.raises(ComputeFailed):
        stream.wait(1)
