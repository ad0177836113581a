"""Of a burst the first pass, and of the others the number is told, once, when it is over."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

from salience_service.telemetry.bursts import Bursts
from tests.support.waiting import SOON_SECONDS


class Told:
    """What is told of those that did not pass."""

    def __init__(self) -> None:
        self._queue: Queue[tuple[str, int]] = Queue()

    def __call__(self, kind: str, number: int) -> None:
        self._queue.put((kind, number))

    def next(self) -> tuple[str, int]:
        return self._queue.get(timeout=SOON_SECONDS)

    def nothing(self) -> bool:
        return self._queue.empty()


def test_the_first_of_each_kind_pass_and_the_others_are_told_by_their_number() -> None:
    told = Told()
    bursts = Bursts(3, 2, told)
    assert [bursts.passes("a") for _ in range(10)] == [True] * 3 + [False] * 7
    assert [bursts.passes("b") for _ in range(3)] == [True] * 3
    assert told.next() == ("a", 7)
    assert told.nothing()


def test_after_a_window_as_many_pass_again() -> None:
    told = Told()
    bursts = Bursts(2, 1, told)
    for _ in range(2):
        assert [bursts.passes("a") for _ in range(4)] == [True, True, False, False]
        assert told.next() == ("a", 2)


def test_few_are_never_left_out_however_long_they_go_on_and_start_no_thread() -> None:
    told = Told()
    bursts = Bursts(2, 0.02, told)
    before = threading.active_count()
    for _ in range(10):
        assert bursts.passes("a")
        time.sleep(0.02)
    assert threading.active_count() <= before
    assert told.nothing()


def test_none_is_lost_where_many_threads_count() -> None:
    told = Told()
    bursts = Bursts(5, 0.5, told)
    with ThreadPoolExecutor(8) as threads:
        passed = sum(threads.map(lambda _: bursts.passes("a"), range(4000)))
    left_out = 0
    while passed + left_out < 4000:
        left_out += told.next()[1]
    assert passed + left_out == 4000


def test_closing_tells_at_once_and_once_of_windows_that_are_open() -> None:
    told = Told()
    bursts = Bursts(3, 1, told)
    assert [bursts.passes("a") for _ in range(10)].count(True) == 3
    assert bursts.passes("b")
    bursts.close()
    assert told.next() == ("a", 7)
    time.sleep(1.2)
    assert told.nothing()
