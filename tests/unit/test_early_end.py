"""Where rows end before their last: at fixed looks, for all voices, or by the clock."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from salience_service.errors import InvalidRequest
from salience_service.events import Convergence
from salience_service.explanation.early_end import (
    LEAST_ROWS,
    LOOKS,
    NEVER,
    EarlyEnd,
    check_stop,
    looks,
)
from salience_service.methods.probe import Partial, Rows
from salience_service.request import StopWhen

SIZE = 320
MAP = np.zeros((2, 2), np.float32)


def logits(rows: int) -> np.ndarray:
    return np.zeros((rows, 2), np.float32)


def probe(correlation: Callable[[int], float], asked: list[int] | None = None) -> Rows:
    """Rows whose map has come as far as `correlation` says of the rows done."""

    def drawn(given: np.ndarray) -> Partial:
        if asked is not None:
            asked.append(len(given))
        return Partial(MAP, "", len(given) / SIZE, correlation(len(given)))

    return Rows(np.zeros((SIZE, 2, 2), np.float32), preview=drawn, anytime=True)


def rising(rows: int) -> float:
    return rows / SIZE


def walked(stop: StopWhen, step: int, *probes: Rows) -> EarlyEnd:
    """An end that has seen the rows come in steps until it was reached."""
    end = EarlyEnd(stop, time.monotonic(), probes, SIZE)
    done = 0
    while not end.reached(logits(done)) and done < SIZE:
        done = min(done + step, SIZE)
    return end


@pytest.mark.parametrize("step", [1, 7, 8, 64, SIZE])
def test_rows_end_at_the_same_look_however_they_come(step: int) -> None:
    asked: list[int] = []
    end = walked(StopWhen(correlation=0.5), step, probe(rising, asked))
    assert end.rows == 180  # The second look of at least 0.5.
    assert end.convergences == [Convergence(140, 180 / SIZE, repeatable=True)]
    assert asked == looks(SIZE)[: len(asked)]  # And at no other place.


def test_rows_go_on_until_every_voice_has_enough() -> None:
    slow = probe(lambda rows: rows / SIZE / 2)
    end = walked(StopWhen(correlation=0.25), 8, probe(rising), slow)
    assert end.rows == 180
    assert [each.correlation for each in end.convergences if each] == [180 / 320, 90 / 320]


def test_one_look_that_is_high_by_chance_ends_nothing() -> None:
    end = walked(StopWhen(correlation=0.5), 8, probe(lambda rows: float(rows in (100, 140, 200))))
    assert end.rows == SIZE


def test_what_never_agrees_runs_to_its_end_and_is_whole() -> None:
    end = walked(StopWhen(correlation=0.9), 8, probe(lambda rows: 0.1))
    assert end.rows == SIZE
    assert end.convergences == [Convergence(0, 1.0, repeatable=True)]


def test_a_value_that_is_no_number_is_never_enough() -> None:
    assert walked(StopWhen(correlation=0.01), 8, probe(lambda rows: math.nan)).rows == SIZE


def test_time_ends_rows_where_they_are_and_says_that_it_did() -> None:
    end = EarlyEnd(StopWhen(seconds=0.05), time.monotonic() - 1, [probe(rising)], SIZE)
    assert not end.reached(logits(0))  # A map needs a row.
    assert end.reached(logits(3))
    assert end.rows == 3
    assert end.convergences == [Convergence(SIZE - 3, 3 / SIZE, repeatable=False)]


def test_time_that_is_not_up_ends_nothing_nor_does_time_once_all_rows_are_done() -> None:
    ahead = EarlyEnd(StopWhen(seconds=60), time.monotonic(), [probe(rising)], SIZE)
    late = EarlyEnd(StopWhen(seconds=60), time.monotonic() - 61, [probe(rising)], SIZE)
    assert not ahead.reached(logits(SIZE - 1))
    assert not late.reached(logits(SIZE))
    assert late.convergences == [Convergence(0, 1.0, repeatable=True)]


def test_correlation_goes_before_the_clock() -> None:
    stop = StopWhen(correlation=0.25, seconds=1)
    end = EarlyEnd(stop, time.monotonic() - 2, [probe(rising)], SIZE)
    assert end.reached(logits(SIZE - 1))
    assert (end.rows, end.convergences[0]) == (100, Convergence(220, 100 / 320, repeatable=True))


def test_rows_that_are_to_run_to_their_end_do_and_tell_no_convergence() -> None:
    end = walked(NEVER, 8, Rows(np.zeros((SIZE, 2, 2), np.float32)))
    assert (end.rows, end.convergences) == (SIZE, [None])


@pytest.mark.parametrize("size", [1, LEAST_ROWS, LEAST_ROWS + 1, 100, 320, 6000])
def test_looks_are_few_below_the_last_row_and_not_too_early(size: int) -> None:
    places = looks(size)
    assert len(places) < LOOKS
    assert all(LEAST_ROWS <= rows < size for rows in places)
    assert places == sorted(set(places))
    assert places or size <= LEAST_ROWS + 1


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        (StopWhen(), "says nothing: state a correlation or seconds"),
        (StopWhen(correlation=0.0), "correlation is 0: state one above 0 and below 1"),
        (StopWhen(correlation=1.0), "correlation is 1: "),
        (StopWhen(correlation=-0.5), "correlation is -0.5"),
        (StopWhen(correlation=math.nan), "correlation is nan"),
        (StopWhen(seconds=0.0), "seconds are 0: state a number above 0"),
        (StopWhen(seconds=-1.0), "seconds are -1"),
        (StopWhen(seconds=math.inf), "seconds are inf"),
        (StopWhen(seconds=math.nan), "seconds are nan"),
        (StopWhen(correlation=0.5, seconds=0.0), "seconds are 0"),
    ],
)
def test_what_never_ends_or_ends_at_once_is_refused(stop: StopWhen, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_stop(stop)


@pytest.mark.parametrize(
    "stop", [StopWhen(correlation=1e-6), StopWhen(correlation=1 - 1e-6), StopWhen(seconds=1e-3)]
)
def test_what_lies_just_within_the_limits_is_not(stop: StopWhen) -> None:
    check_stop(stop)
