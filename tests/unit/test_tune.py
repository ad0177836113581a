"""Timing trials on a clock of the test's own, and what is tried where nobody says."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from salience_service.errors import ComputeFailed
from salience_service.runtime.device import Device, Lane
from salience_service.tune.choice import Trial, TunedGraph
from salience_service.tune.measure import (
    LEAST_SECONDS,
    SIZES,
    sizes_by_model,
    threads_to_try,
    timed,
)

GRAPH = TunedGraph("masked", (4, 4))


@dataclass
class Bench:
    """Trials that take the time they are told, by a clock that nothing else moves."""

    now: float = 0.0
    calls: list[int] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def opener(self, size: int, *seconds: float) -> Callable[[], Callable[[Lane], None]]:
        """A trial whose calls take so long, round by round; negative: it fails."""
        rounds = iter(seconds)

        def opened() -> Callable[[Lane], None]:
            took = next(rounds)

            def call(_: Lane) -> None:
                self.calls.append(size)
                if took < 0:
                    raise ComputeFailed("no memory")
                self.now += took

            return call

        return opened


def trial(size: int) -> Trial:
    return Trial(GRAPH, 1, size)


def test_the_median_of_the_rounds_counts() -> None:
    bench = Bench()
    openers = {trial(8): bench.opener(8, 1.0, 9.0, 2.0), trial(4): bench.opener(4, 1.0, 1.0, 5.0)}
    assert timed(openers, 3, clock=bench.clock) == pytest.approx({trial(8): 4, trial(4): 4})


def test_every_trial_runs_untimed_first_and_long_enough() -> None:
    bench, slow, quick = Bench(), 0.6 * LEAST_SECONDS, 0.3 * LEAST_SECONDS

    def settling(_: Lane) -> None:
        """Slow at first, while others' threads spin."""
        bench.calls.append(2)
        bench.now += slow if bench.now < LEAST_SECONDS else quick

    rates = timed({trial(2): lambda: settling}, 1, clock=bench.clock)
    assert len(bench.calls) == 2 + 4
    assert rates == pytest.approx({trial(2): 2 / quick})


def test_rounds_go_through_all_trials_in_an_order_of_their_own() -> None:
    bench = Bench()
    sizes = range(1, 9)
    timed({trial(n): bench.opener(n, *[1.0] * 4) for n in sizes}, 4, clock=bench.clock)
    rounds = [tuple(bench.calls[start : start + 16 : 2]) for start in range(0, 64, 16)]
    assert all(sorted(each) == [*sizes] for each in rounds)
    assert len(set(rounds)) == 4


def test_a_trial_that_fails_has_no_rate_and_is_not_tried_again() -> None:
    bench = Bench()
    openers = {trial(64): bench.opener(64, -1.0), trial(8): bench.opener(8, 1.0, 1.0, 1.0)}
    assert timed(openers, 3, clock=bench.clock) == pytest.approx({trial(64): 0, trial(8): 8})
    assert bench.calls.count(64) == 1


def test_all_lanes_run_a_trial_at_a_time_and_their_rates_add_up() -> None:
    lanes, meeting, met = (Lane(0), Lane(1), Lane(2)), threading.Barrier(3), set[Lane]()
    now = threading.local()

    def clock() -> float:
        return float(getattr(now, "seconds", 0.0))

    def call(lane: Lane) -> None:
        meeting.wait(10)  # Nobody gets through alone.
        met.add(lane)
        now.seconds = clock() + 1.0

    assert timed({trial(4): lambda: call}, 1, clock=clock, lanes=lanes) == {trial(4): 3 * 4}
    assert met == set(lanes)


def test_it_is_told_how_far_it_has_come() -> None:
    bench, told = Bench(), list[tuple[int, int]]()
    openers = {trial(size): bench.opener(size, 1.0, 1.0) for size in (1, 2)}
    timed(openers, 2, lambda done, total: told.append((done, total)), bench.clock)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_threads_are_tried_up_to_the_cores_on_the_cpu_and_left_alone_elsewhere() -> None:
    tried = threads_to_try("cpu")
    assert tried[0] == 1
    assert list(tried) == sorted(set(tried))
    assert threads_to_try("cuda") == threads_to_try("tensorrt") == (0,)


def test_one_model_runs_all_sizes_unless_an_engine_is_built_for_each() -> None:
    assert sizes_by_model(Device("cpu"), (4, 8)) == [(4, 8)]
    assert sizes_by_model(Device("tensorrt"), (4, 8)) == [[4], [8]]


@pytest.mark.parametrize("provider", SIZES)
def test_every_provider_has_sizes_to_try(provider: str) -> None:
    assert list(SIZES[provider]) == sorted(set(SIZES[provider]))
    assert Device(provider).provider == provider
