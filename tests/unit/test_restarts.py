"""How often a server is started again: waits that double, a bound, and a fresh start."""

import pytest

from salience_service.life.restarts import RestartPolicy, Restarts

POLICY = RestartPolicy(most=4, window=100.0, first_wait=1.0, longest_wait=5.0)


def test_waits_double_up_to_the_longest_and_then_it_gives_up() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.wait(0.1, float(now)) for now in range(5)] == [1, 2, 4, 5, None]


def test_restarts_older_than_the_window_do_not_count() -> None:
    restarts = Restarts(POLICY)
    for now in (0.0, 30.0, 60.0, 90.0):
        assert restarts.wait(29.0, now) is not None
    assert restarts.wait(9.0, 99.0) is None
    assert restarts.wait(10.0, 100.0) is not None  # That of 0.0 is a window ago.


def test_a_server_that_lived_for_a_window_starts_from_the_first_wait_again() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.wait(0.1, 0.0), restarts.wait(0.1, 1.0)] == [1, 2]
    assert restarts.wait(100.0, 101.0) == 1
    assert restarts.wait(99.0, 200.0) == 2


@pytest.mark.parametrize("first", [0.01, 600.0])
def test_no_number_of_crashes_makes_a_wait_beyond_the_longest(first: float) -> None:
    restarts = Restarts(RestartPolicy(10**6, 1.0, first, 3600.0))
    waits = [restarts.wait(0.0, float(now)) for now in range(0, 5000, 2)]
    assert max(wait for wait in waits if wait is not None) == 3600.0


def test_none_is_made_where_none_is_allowed() -> None:
    assert Restarts(RestartPolicy(most=0)).wait(10**6, 0.0) is None
