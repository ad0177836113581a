"""Which threads and batch sizes are best, from the rows a second that were measured for each.

The smallest batch that is nearly as fast as the fastest: a request waits for whole batches,
and a batch holds memory for all its rows, so that more rows must be worth it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean

from salience_service.bundle.manifest import GraphRole
from salience_service.errors import ComputeFailed
from salience_service.models.tuning import Tuning

NEARLY = 0.98
"""Of the best rate: what medians of a few rounds on a machine in use can hardly tell apart."""


@dataclass(frozen=True, order=True)
class TunedGraph:
    """A graph as it is tuned: the masked one at a shape [h, w] of maps, a tail at its tap."""

    role: str
    shape: tuple[int, ...] = ()
    tap: str = ""


@dataclass(frozen=True)
class Trial:
    """A graph at a batch size and a number of CPU threads."""

    graph: TunedGraph
    threads: int
    batch_size: int


Rates = Mapping[Trial, float]
"""Rows a second of each trial; 0 where it failed, for want of memory say."""


def chosen(rates: Rates) -> Tuning:
    """The fewest threads, then the smallest batches, that are nearly as fast as the best.

    Args:
        rates: of every graph at the same numbers of threads, at least one.

    Raises:
        ComputeFailed: a graph failed at every size.
    """
    threads = smallest(speeds(rates))
    sizes = {
        graph: smallest(of_graph(rates, graph, threads))
        for graph in sorted({trial.graph for trial in rates})
    }
    masked, tail = GraphRole.MASKED.value, GraphRole.TAIL.value
    return Tuning(
        threads=threads,
        masked={graph.shape: rows for graph, rows in sizes.items() if graph.role == masked},
        pixel_masked=sizes.get(TunedGraph(GraphRole.PIXEL_MASKED.value), 0),
        tails={graph.tap: rows for graph, rows in sizes.items() if graph.role == tail},
    )


def speeds(rates: Rates) -> dict[int, float]:
    """By threads: the geometric mean over graphs of the best rate of each.

    Raises:
        ComputeFailed: a graph failed at every size.
    """
    graphs = {trial.graph for trial in rates}
    return {
        threads: geometric_mean(_best(rates, graph, threads) for graph in graphs)
        for threads in sorted({trial.threads for trial in rates})
    }


def of_graph(rates: Rates, graph: TunedGraph, threads: int) -> dict[int, float]:
    """Rates of a graph by batch size, at so many threads."""
    of_trials = {
        trial.batch_size: rate
        for trial, rate in rates.items()
        if (trial.graph, trial.threads) == (graph, threads)
    }
    return dict(sorted(of_trials.items()))


def smallest(rate_of: Mapping[int, float]) -> int:
    """The smallest key whose rate is nearly the best."""
    enough = NEARLY * max(rate_of.values())
    return min(key for key, rate in rate_of.items() if rate >= enough)


def _best(rates: Rates, graph: TunedGraph, threads: int) -> float:
    best = max(of_graph(rates, graph, threads).values())
    if not best:
        raise ComputeFailed(
            f"the {graph.role} graph failed at every batch size: give smaller --sizes"
        )
    return best
