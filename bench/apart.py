"""A run in a process of its own, so that no run sees another's threads and memory."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

Make = Callable[..., Callable[[], object]]
"""Opens what a run needs, there; what it returns is run once a call."""


@contextmanager
def apart(make: Make, *given: object) -> Iterator[Callable[[], float]]:
    """Calls `make(*given)` in a fresh process; each call of the result runs what that returned.

    The call returns the run's own seconds, without the way there and back. Both `make` and
    what it is given must be picklable.
    """
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(there, make, given))
    process.start()
    there.close()

    def run() -> float:
        here.send(True)
        return float(here.recv())

    try:
        assert here.recv() == "ready"
        yield run
    finally:
        here.close()  # Its reader then ends by itself.
        process.join()


def _serve(calls: Connection, make: Make, given: tuple[object, ...]) -> None:
    run = make(*given)
    calls.send("ready")
    while True:
        try:
            calls.recv()
        except EOFError:
            return
        began = time.perf_counter()
        run()
        calls.send(time.perf_counter() - began)
