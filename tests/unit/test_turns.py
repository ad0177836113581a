"""Sessions of CUDA run one call at a time, each for itself; others as many as come."""

import threading

import pytest

from salience_service.runtime.device import Device
from salience_service.runtime.turns import turns


def goes_beside(provider: str, one: str, other: str, seconds: float) -> bool:
    """Whether a call of one session goes on within that time while one of the other runs."""
    taken, done = turns(Device(provider), ["a", "b"]), threading.Event()

    def second() -> None:
        with taken(other):
            done.set()

    thread = threading.Thread(target=second)
    with taken(one):
        thread.start()
        beside = done.wait(seconds)
    thread.join()
    assert done.is_set()
    return beside


@pytest.mark.parametrize(
    ("provider", "other", "beside"),
    [("cuda", "a", False), ("cuda", "b", True), ("cpu", "a", True), ("tensorrt", "a", True)],
)
def test_only_calls_of_one_session_of_cuda_take_turns(
    provider: str, other: str, beside: bool
) -> None:
    assert goes_beside(provider, "a", other, 60 if beside else 0.2) is beside
