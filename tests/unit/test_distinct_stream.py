"""Rows that are alike run once: any pattern of them, at any pace, comes out as if all had run."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salience_service.errors import ComputeFailed
from salience_service.explanation.distinct_stream import DistinctStream
from salience_service.explanation.known import Alike
from salience_service.explanation.row_stream import RowStream

CLASSES = 3


def logits_of(value: int) -> np.ndarray:
    """What the device answers a row of this value."""
    return np.array([value, -value, 100 + value], np.float32)


def alike_of(values: list[int], known: set[int]) -> Alike:
    """How rows of these values repeat, found by a plain loop."""
    fresh: list[int] = []
    place = []
    for value in values:
        if value in known:
            place.append(-1)
            continue
        seen = [values[row] for row in fresh]
        if value not in seen:
            fresh.append(len(place))
            seen.append(value)
        place.append(seen.index(value))
    found = {row: logits_of(value) for row, value in enumerate(values) if value in known}
    keys = [str(value).encode() for value in values]
    maps = np.array(values, np.float32)[:, None, None]
    return Alike(keys, np.array(fresh, np.intp), np.array(place, np.intp), found, maps)


@dataclass
class FakeTicket:
    """Completes as many rows a wait as it is told, oldest first."""

    masks: np.ndarray
    paces: list[int]
    done: int = 0

    @property
    def size(self) -> int:
        return len(self.masks)

    @property
    def logits(self) -> np.ndarray:
        return np.stack([logits_of(int(mask)) for mask in self.masks.ravel()])

    def wait(self, beyond: int, timeout: float) -> int:
        self.done = min(self.size, self.done + self.paces[self.done % len(self.paces)])
        return self.done


def stream_of(values: list[int], known: set[int], paces: list[int]) -> DistinctStream:
    alike = alike_of(values, known)

    def run(fresh: np.ndarray) -> RowStream:
        return RowStream(
            alike.maps[fresh],
            2,
            lambda part: FakeTicket(part, paces),  # type: ignore[arg-type, return-value]
        )

    return DistinctStream(alike, run)


@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    known=st.sets(st.integers(0, 9)),
    paces=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_every_row_gets_the_logits_of_its_value_in_order(
    values: list[int], known: set[int], paces: list[int]
) -> None:
    stream, ran = stream_of(values, known, paces), 0
    while stream.done < stream.size:
        before = stream.done
        ran += stream.wait(1)
        assert stream.done >= before
        told = [logits_of(value) for value in values[: stream.done]]
        np.testing.assert_array_equal(stream.logits, np.reshape(told, (-1, stream.logits.shape[1])))
    assert ran == len(set(values) - known)
    np.testing.assert_array_equal(stream.logits, [logits_of(value) for value in values])


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_a_row_is_told_as_soon_as_it_and_all_before_it_are_answered(values: list[int]) -> None:
    stream = stream_of(values, set(), [1])
    seen: list[int] = []
    for value in values:
        if value not in seen:
            seen.append(value)
    for ran in range(1, len(seen) + 1):
        stream.wait(1)
        answered = [value in seen[:ran] for value in values]
        assert stream.done == (answered.index(False) if False in answered else len(values))


def test_rows_that_are_all_known_need_no_device() -> None:
    stream = stream_of([1, 2, 1], {1, 2}, [1])
    assert stream.done == stream.size == 3
    np.testing.assert_array_equal(stream.logits, [logits_of(value) for value in (1, 2, 1)])


def test_a_wait_that_brings_no_row_changes_nothing() -> None:
    stream = stream_of([1, 2, 1], {1}, [0])
    assert stream.wait(0.1) == 0
    assert (stream.done, len(stream.logits)) == (1, 1)


def test_a_failure_of_the_fresh_rows_is_that_of_all() -> None:
    class Failing(FakeTicket):
        def wait(self, beyond: int, timeout: float) -> int:
            raise ComputeFailed("the model failed on the device")

    stream = DistinctStream(
        alike_of([1, 1, 2], set()),
        lambda fresh: RowStream(
            np.zeros((len(fresh), 1, 1), np.float32),
            2,
            lambda part: Failing(part, [1]),  # type: ignore[arg-type, return-value]
        ),
    )
    with pytest.raises(ComputeFailed):
        stream.wait(1)
