"""Sessions on a GPU run one call at a time, each for itself; those of the CPU as many as come."""

import threading

import pytest

from salience_service.runtime import turns as turns_module
from salience_service.runtime.device import Device
from salience_service.runtime.turns import Turn, turns
from tests.support.scheduling import Clock


def goes_beside(provider: str, one: str, other: str, seconds: float) -> bool:
    """Whether a call of one session goes on within that time while one of the other runs."""
    taken, done = turns(Device(provider), ["a", "b"]), threading.Event()

    def second() -> None:
        with taken(other, Turn()):
            done.set()

    thread = threading.Thread(target=second)
    with taken(one, Turn()):
        thread.start()
        beside = done.wait(seconds)
    thread.join()
    assert done.is_set()
    return beside


@pytest.mark.parametrize(
    ("provider", "other", "beside"),
    [
        ("cuda", "a", False),
        ("cuda", "b", True),
        ("tensorrt", "a", False),  # CUDA is behind it, for what no engine took.
        ("tensorrt", "b", True),
        ("cpu", "a", True),
    ],
)
def test_only_calls_of_one_session_on_a_gpu_take_turns(
    provider: str, other: str, beside: bool
) -> None:
    assert goes_beside(provider, "a", other, 60 if beside else 0.2) is beside


def test_a_call_of_two_sessions_begins_with_its_first_turn_less_the_wait_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, turn = Clock(), Turn()
    monkeypatch.setattr(turns_module, "time", clock)
    clock.now = 5.0
    with turn.taken(threading.Lock()):
        clock.now = 7.0
    assert (turn.began, turn.waits) == (5.0, False)
    with turn.taken(Held(clock, until=17.0)):  # type: ignore[arg-type]
        assert (turn.began, turn.waits) == (15.0, False)


class Held:
    """A lock that another holds until then."""

    def __init__(self, clock: Clock, until: float) -> None:
        self._clock, self._until = clock, until

    def __enter__(self) -> None:
        self._clock.now = self._until

    def __exit__(self, *_: object) -> None:
        pass


def test_the_cpu_takes_no_turns() -> None:
    turn = Turn()
    with turns(Device(), ["a"])("a", turn):
        assert turn.began is None
