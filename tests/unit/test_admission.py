"""The door: explanations, rows and bytes at a time are counted, and what is too much is refused."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from salience_service.admission import Admission, Load
from salience_service.errors import InvalidRequest, Overloaded

MOST = Load(3, rows=100, bytes=1000)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that change places at every opportunity."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_what_is_let_in_is_counted_while_it_lasts() -> None:
    door = Admission(MOST)
    with door.held(Load(1, 60, 500)) as first, door.held(Load(1, 40, 100)) as second:
        assert (first, second) == (Load(0, 0, 0), Load(1, 60, 500))
        assert door.now == Load(2, 100, 600)
    assert door.now == Load(0, 0, 0)


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (Load(1, 41, 0), r"asked for 60 rows and this one asks for 41, .* limit of 100; try again"),
        (Load(1, 0, 501), r"hold 500 bytes and this one would hold 501, .* of 1000; try again"),
        (Load(3, 0, 0), r"1 explanations are running, the limit; try again"),
    ],
)
def test_what_would_go_beyond_a_limit_is_refused_and_not_counted(load: Load, told: str) -> None:
    door = Admission(MOST)
    with door.held(Load(1, 60, 500)):
        with pytest.raises(Overloaded, match=told), door.held(load):
            raise AssertionError("let in")
        assert door.now == Load(1, 60, 500)
    with door.held(load):
        pass


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (Load(1, 101, 0), "asks for 101 rows; this server takes at most 100 a request"),
        (Load(1, 0, 1001), "would hold 1001 bytes .* at most 1000 a request"),
    ],
)
def test_what_alone_is_too_much_is_the_requests_fault(load: Load, told: str) -> None:
    door = Admission(MOST)
    with pytest.raises(InvalidRequest, match=told), door.held(load):
        raise AssertionError("let in")
    assert door.now == Load(0, 0, 0)


def test_exactly_the_limit_is_let_in() -> None:
    with Admission(MOST).held(MOST):
        pass


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_leaving_gives_back_however_it_ends(error: type[BaseException]) -> None:
    door = Admission(MOST)
    with pytest.raises(error), door.held(Load(1, 60, 500)):
        raise error
    assert door.now == Load(0, 0, 0)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_that_race_never_get_beyond_a_limit_and_leave_nothing_behind() -> None:
    door, inside, lock = Admission(MOST), [Load(0)], threading.Lock()
    loads = [Load(1, 20 + 7 * number, 90 * number) for number in range(8)]
    start = threading.Barrier(len(loads))
    highest, refused = [Load(0)], [0]

    def enter_and_leave(load: Load) -> None:
        start.wait()
        for _ in range(300):
            try:
                with ExitStack() as stack:
                    stack.enter_context(door.held(load))
                    with lock:
                        inside[0] += load
                        highest.append(inside[0])
                    with lock:
                        inside[0] -= load
            except Overloaded:
                refused[0] += 1

    with ThreadPoolExecutor(len(loads)) as threads:
        list(threads.map(enter_and_leave, loads))
    assert door.now == Load(0, 0, 0)
    assert refused[0] > 0, "nobody met a limit: the test shows nothing"
    assert max(load.explanations for load in highest) <= MOST.explanations
    assert max(load.rows for load in highest) <= MOST.rows
    assert max(load.bytes for load in highest) <= MOST.bytes
