"""Graphs, clocks and spans to try a scheduler with; no device."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np

from salience_service.control import Control
from salience_service.runtime.session import Execution
from salience_service.scheduling.account import Account
from salience_service.scheduling.row_graph import RowSpan
from salience_service.scheduling.scheduler import Scheduler

BATCH = 4


class CountingGraph:
    """Answers each row with the mean of its map; runs one batch each time it is let.

    Args:
        sizes: rows of a batch of maps of these shapes; of others it has BATCH.
    """

    def __init__(self, sizes: Mapping[tuple[int, ...], int] = MappingProxyType({})) -> None:
        self.sizes = sizes
        self.calls: list[list[tuple[object, int]]] = []
        self.let = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.fails = False
        self.executions: list[Execution] = []

    def batch_size(self, shape: tuple[int, ...]) -> int:
        return self.sizes.get(shape, BATCH)

    def shape_key(self, maps: np.ndarray) -> tuple[int, ...]:
        return maps.shape[1:]

    def score(self, spans: list[RowSpan], execution: Execution) -> np.ndarray:
        self.calls.append([(span.source, len(span)) for span in spans])
        self.executions.append(execution)
        self.began.release()
        assert self.let.acquire(timeout=10)
        if self.fails:
            raise RuntimeError("/secret/path exploded")
        return np.concatenate([span.maps.mean(axis=(1, 2)) for span in spans])[:, None]

    def rows_run(self) -> int:
        return sum(rows for call in self.calls for _, rows in call)


class Clock:
    """A scheduler's clock that only the device's work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@contextmanager
def held(scheduler: Scheduler) -> Iterator[None]:
    """Holds the only lane, so that what is queued meanwhile is there before any of it runs."""
    begun, let = threading.Event(), threading.Event()

    def hold(_: Execution) -> None:
        begun.set()
        let.wait(10)

    scheduler.call(hold, Control(), Account())
    assert begun.wait(10)
    try:
        yield
    finally:
        let.set()


def span(image: object, rows: int, size: int = 2) -> RowSpan:
    """So many rows, each with its number in every pixel."""
    values = np.arange(rows, dtype=np.float32)[:, None, None]
    return RowSpan(image, np.broadcast_to(values, (rows, size, size)))


def finish(ticket, graph: CountingGraph) -> np.ndarray:
    """Lets the graph run until the ticket is complete."""
    done = 0
    while done < ticket.size:
        graph.let.release()
        done = ticket.wait(done, 10)
    return ticket.logits


class TimedGraph(CountingGraph):
    """Takes a hundredth of a second of a played clock for each row; two rows a batch."""

    def __init__(self, clock: Clock) -> None:
        super().__init__({(2, 2): 2})
        self.clock = clock

    def score(self, spans: list[RowSpan], execution: Execution) -> np.ndarray:
        self.calls.append([(span.source, len(span)) for span in spans])
        time.sleep(0.0005)
        self.clock.now += 0.01 * sum(map(len, spans))
        return np.concatenate([span.maps.mean(axis=(1, 2)) for span in spans])[:, None]
