"""Work in a process of its own, so that none sees another's threads and memory."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

Make = Callable[..., Callable[[], object]]
"""Opens what a run needs, there; what it returns is run once a call."""
P = ParamSpec("P")
T = TypeVar("T")


def in_a_fresh_process(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """So that no part sees the threads, libraries or memory of another."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given, **named).result()


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
