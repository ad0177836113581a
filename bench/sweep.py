"""The batch size at which the bare forward of a network is fastest."""

import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench.apart import apart
from bench.bare import bare_forward
from bench.networks import Network
from bench.pairs import seconds
from bench.report import Table

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 21
LEAST_ROWS = 64
EQUAL = 0.02
"""Sizes this close to the fastest count as fast: as the service's tuning chooses."""


def sweep(
    models: Path,
    network: Network,
    picture: bytes,
    sizes: Sequence[int] = BATCH_SIZES,
    provider: str = "cpu",
    rounds: int = ROUNDS,
) -> dict[int, float]:
    """Rows/s of the bare forward by batch size: the median of rounds in random order.

    Each size has a process of its own, and only one is busy at a time.
    """
    order, rows = random.Random(0), max(LEAST_ROWS, *sizes)
    with ExitStack() as stack:
        runs = {
            size: stack.enter_context(
                apart(bare_forward, models, network, picture, size, rows, provider)
            )
            for size in sizes
        }
        taken: dict[int, list[float]] = {size: [] for size in sizes}
        for run in runs.values():
            run()
        for _ in range(rounds):
            for size in order.sample(sorted(runs), len(runs)):
                taken[size].append(rows / seconds(runs[size]))
    return {size: float(np.median(each)) for size, each in taken.items()}


def best_of(rates: dict[int, float]) -> int:
    """The fastest batch size; of those within `EQUAL` of it the smallest."""
    fastest = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= (1 - EQUAL) * fastest)


def sweep_table(network: Network, rates: dict[int, float]) -> Table:
    """Rows/s by batch size."""
    columns = ("rows/s", *(f"batch {size}" for size in rates))
    row = ("bare forward", *(f"{rate:.0f}" for rate in rates.values()))
    return Table(f"{network.name}, sweep of the bare forward (median)", columns, (row,))
