"""Rows in parts: masks are made late and let go early, logits come back in order."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from salience_service.errors import ComputeFailed
from salience_service.row_stream import PART_BATCHES, PARTS_AHEAD, RowStream

BATCH = 2
PART = PART_BATCHES * BATCH


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

    def wait(self, beyond: int, timeout: float) -> int:
        assert beyond == self.done, "the stream has lost count"
        self.done = min(self.size, self.done + self.pace)
        return self.done


def run(masks: Counted, pace: int = 3) -> tuple[RowStream, list[tuple[list[float], list[float]]]]:
    heard: list[tuple[list[float], list[float]]] = []
    stream = RowStream(
        masks,
        BATCH,
        lambda part: FakeTicket(part, pace),  # type: ignore[arg-type, return-value]
        lambda cut, logits: heard.append((cut.ravel().tolist(), logits.ravel().tolist())),
    )
    return stream, heard


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 5 * PART + 3])
@pytest.mark.parametrize("pace", [1, 3, PART])
def test_logits_come_back_in_the_order_of_the_masks(size: int, pace: int) -> None:
    stream, heard = run(Counted(size), pace)
    told = 0
    while stream.done < stream.size:
        told += stream.wait(1)
        assert told == stream.done == len(stream.logits)
    np.testing.assert_array_equal(stream.logits[:, 0], np.arange(size))
    assert [row for masks, _ in heard for row in masks] == list(range(size))
    assert [masks for masks, _ in heard] == [logits for _, logits in heard]


def test_masks_are_cut_no_earlier_than_their_part_is_queued() -> None:
    masks = Counted(10 * PART)
    stream, heard = run(masks, PART)
    assert len(masks.cut) == PARTS_AHEAD
    stream.wait(1)
    assert len(heard) == 1
    assert len(masks.cut) == PARTS_AHEAD + 1


def test_a_wait_that_ends_without_rows_changes_nothing() -> None:
    stream, heard = run(Counted(PART), pace=0)
    assert stream.wait(0.1) == 0
    assert (stream.done, len(stream.logits), heard) == (0, 0, [])


def test_a_failed_part_ends_the_stream() -> None:
    class Failing(FakeTicket):
        def wait(self, beyond: int, timeout: float) -> int:
            raise ComputeFailed("the model failed on the device")

    stream = RowStream(
        Counted(3),
        BATCH,
        lambda part: Failing(part, 1),  # type: ignore[arg-type, return-value]
        lambda cut, logits: None,
    )
    with pytest.raises(ComputeFailed):
        stream.wait(1)
