"""The choice: the fewest threads and the smallest batches that are nearly as fast as the best."""

import pytest

from salience_service.errors import ComputeFailed
from salience_service.models.tuning import Tuning
from salience_service.tune.choice import Trial, TunedGraph, chosen, speeds

SMALL, LARGE = TunedGraph("masked", (4, 4)), TunedGraph("masked", (8, 8))
PIXELS, TAIL, GRADIENT = (
    TunedGraph("pixel_masked"),
    TunedGraph("tail", tap="conv"),
    TunedGraph("gradient"),
)


def rates(*of: tuple[TunedGraph, dict[int, float]], threads: int = 1) -> dict[Trial, float]:
    return {Trial(graph, threads, size): rate for graph, by in of for size, rate in by.items()}


def test_the_smallest_batch_within_two_percent_of_the_best_is_chosen() -> None:
    found = chosen(rates((SMALL, {4: 97.9, 8: 98.1, 16: 100, 32: 99})))
    assert found == Tuning(1, {(4, 4): 8})


def test_each_graph_and_shape_has_its_own_size() -> None:
    found = chosen(
        rates(
            (SMALL, {1: 10, 2: 20}),
            (LARGE, {1: 10, 2: 10}),
            (PIXELS, {4: 1, 8: 2, 16: 3}),
            (TAIL, {8: 50, 16: 100}),
        )
    )
    assert found == Tuning(1, {(4, 4): 2, (8, 8): 1}, 16, {"conv": 16})


def test_a_bundle_with_masked_graphs_alone_leaves_the_others_as_configured() -> None:
    assert chosen(rates((SMALL, {2: 1}))) == Tuning(1, {(4, 4): 2}, 0, {})


def test_the_fewest_threads_that_are_nearly_as_fast_are_chosen() -> None:
    one = rates((SMALL, {1: 50, 8: 60}))
    two = rates((SMALL, {1: 60, 8: 100}), threads=2)
    four = rates((SMALL, {1: 101, 8: 60}), threads=4)
    assert speeds(one | two | four) == pytest.approx({1: 60, 2: 100, 4: 101})
    assert chosen(one | two | four) == Tuning(2, {(4, 4): 8})


def test_threads_are_judged_over_all_graphs_each_at_its_best() -> None:
    one = rates((SMALL, {8: 100}), (GRADIENT, {1: 10}))
    two = rates((SMALL, {8: 90}), (GRADIENT, {1: 20}), threads=2)
    assert speeds(one | two) == pytest.approx({1: 1000**0.5, 2: 1800**0.5})
    assert chosen(one | two) == Tuning(2, {(4, 4): 8})  # and gradients have no size of their own


def test_a_size_that_failed_is_never_chosen() -> None:
    assert chosen(rates((SMALL, {8: 100, 64: 0}))) == Tuning(1, {(4, 4): 8})


def test_a_graph_that_failed_at_every_size_is_told() -> None:
    with pytest.raises(ComputeFailed, match="the pixel_masked graph failed at every batch size"):
        chosen(rates((SMALL, {8: 100}), (PIXELS, {8: 0, 16: 0})))
