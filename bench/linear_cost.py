"""Whether the cost of an explanation grows linearly with its rows: RISE of 100 to 10,000 masks.

Each a whole explanation of EfficientNet-Lite0 through gRPC, a PNG of 451×300 in, on a warm idle
server with its own configuration; the sizes in random order, the smaller ones several times, of
which the median counts. A straight line is fitted to seconds over rows by least squares.
"""

import random
import time

import numpy as np

from bench.fit import Line
from bench.report import Curve, Figure, Part, Table
from bench.serving import serving
from bench.workplace import MODEL, Workplace, cat
from salience_client import Client, Method

SIZES = (100, 200, 400, 800, 1600, 3000, 5500, 10_000)
QUICK_SIZES = (20, 40, 80, 160)
LEAST_R_SQUARED = 0.99
ROWS_A_SIZE = 1600
"""A size is repeated until it has run so many rows, at most five times."""
PATIENCE_SECONDS = 1200.0


def measure(place: Workplace) -> Part:
    """The line, and how well it fits."""
    sizes = QUICK_SIZES if place.quick else SIZES
    order = [size for size in sizes for _ in range(_times(size))]
    random.Random(0).shuffle(order)
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    with (
        serving(place.models) as served,
        Client(served.address, timeout=PATIENCE_SECONDS) as client,
    ):
        _rise(client, sizes[0])
        for size in order:
            taken[size].append(_rise(client, size))
    points = [(size, float(np.median(each))) for size, each in taken.items()]
    line = Line.through(*zip(*points, strict=True))
    rows = tuple(
        (
            f"{size:,}",
            f"{seconds:.3f}",
            f"{line.start + line.slope * size:.3f}",
            f"{1e3 * seconds / size:.3f}",
            str(len(taken[size])),
        )
        for size, seconds in points
    )
    columns = ("rows", "median s", "the line's s", "ms a row", "runs")
    return Part(
        "linear_cost",
        __doc__ or "",
        (
            Figure(
                f"R² of seconds over {sizes[0]:,} to {sizes[-1]:,} rows",
                line.r_squared,
                "",
                f"≥ {LEAST_R_SQUARED}",
                line.r_squared >= LEAST_R_SQUARED,
            ),
            Figure("slope", 1e3 * line.slope, "ms a row"),
            Figure("at no rows", 1e3 * line.start, "ms"),
        ),
        (Table("Seconds", columns, rows),),
        (Curve("Seconds over rows", "RISE", "rows", "s", tuple(points)),),
    )


def _times(size: int) -> int:
    return min(max(ROWS_A_SIZE // size, 1), 5)


def _rise(client: Client, masks: int) -> float:
    began = time.perf_counter()
    client.explain(cat(), model=MODEL, methods=Method("rise", masks=masks))
    return time.perf_counter() - began
