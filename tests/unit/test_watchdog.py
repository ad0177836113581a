"""The watchdog: finds calls that do not return, and takes nothing else for one."""

import threading
from collections.abc import Hashable

import pytest

from salience_service.config.watchdog import WatchdogConfig
from salience_service.life.watchdog import CallAges, Watchdog
from salience_service.rpc.server.stuck import limit_seconds
from tests.support.waiting import SOON_SECONDS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_call_ages_from_when_it_is_first_seen_and_goes_with_its_end() -> None:
    clock, calls = Clock(), set[Hashable]()
    ages = CallAges(lambda: calls, 1.0, clock)
    assert ages.oldest() == 0
    calls.add("first")
    seen = []
    for _ in range(4):
        seen.append(ages.oldest())
        clock.now += 0.5
    calls.add("second")
    assert (seen, ages.oldest()) == ([0, 0.5, 1.0, 1.5], 2.0)
    calls.remove("first")
    clock.now += 0.5
    assert ages.oldest() == 0.5


def test_many_short_calls_never_look_like_a_long_one() -> None:
    clock, calls = Clock(), list[Hashable]()
    ages = CallAges(lambda: calls, 1.0, clock)
    for number in range(100):
        calls[:] = [number]
        clock.now += 1.0
        assert ages.oldest() == 0


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    clock = Clock()
    ages = CallAges(lambda: ["call"], 1.0, clock)
    ages.oldest()
    clock.now += 3600.0
    assert ages.oldest() == 1.0


def test_a_stuck_call_is_told_once_and_one_that_returns_is_not() -> None:
    told: list[float] = []
    done, calls = threading.Event(), ["stuck"]

    def on_stuck(seconds: float) -> None:
        told.append(seconds)
        done.set()

    watchdog = Watchdog(lambda: calls, lambda: 0.1, on_stuck)
    watchdog.start()
    assert done.wait(SOON_SECONDS)
    assert told[0] > 0.1
    assert len(told) == 1


def test_a_watchdog_told_to_stop_says_nothing() -> None:
    looked, told = threading.Event(), list[float]()

    def calls() -> list[str]:
        looked.set()
        return ["stuck"]

    watchdog = Watchdog(calls, lambda: 5.0, told.append)
    watchdog.start()
    assert looked.wait(SOON_SECONDS)
    watchdog.stop()
    watchdog.join(SOON_SECONDS)
    assert not told


@pytest.mark.parametrize(
    ("stated", "warm_up", "limit"), [(0, 0.2, 60.0), (0, 30.0, 300.0), (5, 30.0, 5)]
)
def test_the_limit_follows_the_warm_up_unless_stated(
    stated: float, warm_up: float, limit: float
) -> None:
    assert limit_seconds(WatchdogConfig(stuck_call_seconds=stated), warm_up) == limit
