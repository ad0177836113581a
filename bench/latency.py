"""How soon and how often a warm idle server speaks, seen by the client.

`salience serve` in a process of its own, warmed by one request; the Python client over
loopback; one request at a time, a PNG and a JPEG of 1,200×800 (0.96 megapixels) in turn.
Times run from the call of `Client.stream` to each event in the client's hands: `started`;
the first partial map; and the largest silence between progress events, counted from
`started` to the first, between each two, and from the last to `finished`. Score-CAM,
then Opti-CAM (torch loaded before), both at tap 320×7×7. "One batch" is the mean device time
of a batch of 8 rows of the Score-CAM requests.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.report import Figure, Part, Table
from bench.serving import serving
from bench.workplace import LINEAR_TAP, MODEL, Workplace, megapixel_cat
from salience_client import Client, Finished, Method, PartialMap, Progress, Started

STARTED_MS, PARTIAL_MS, SILENCE_MS = 50.0, 300.0, 500.0
BATCH = 8


@dataclass(frozen=True)
class Timing:
    """One request, in milliseconds: started, first partial map, longest silence, one batch.

    `batch` is 0 where the request ran none.
    """

    started: float
    partial: float
    silence: float
    batch: float


def measure(place: Workplace) -> Part:
    """Median and 95th percentile of each, by method and file format."""
    requests, opti_requests = (4, 1) if place.quick else (20, 5)
    pictures = {"png": megapixel_cat("PNG"), "jpeg": megapixel_cat("JPEG")}
    taken: dict[str, list[Timing]] = {}
    with serving(place.models) as served, Client(served.address, timeout=600) as client:
        for method, count in (("score-cam", requests), ("opti-cam", opti_requests)):
            timed(client, pictures["jpeg"], method)
            for _ in range(count):
                for file_format, picture in pictures.items():
                    timing = timed(client, picture, method)
                    taken.setdefault(f"{method}, {file_format}", []).append(timing)
    columns = ("request", "event", "median ms", "95th percentile ms", "requests")
    rows = [row for name, timings in taken.items() for row in _rows(name, timings)]
    return Part(
        "latency",
        __doc__ or "",
        tuple(_figures([t for each in taken.values() for t in each])),
        (Table("Milliseconds", columns, tuple(rows)),),
    )


def timed(client: Client, picture: bytes, method: str) -> Timing:
    """One request, read to its end."""
    began = time.perf_counter()
    heard: list[float] = []
    started = partial = 0.0
    for event in client.stream(picture, model=MODEL, methods=Method(method, taps=[LINEAR_TAP])):
        now = 1e3 * (time.perf_counter() - began)
        match event:
            case Started():
                started = now
                heard.append(now)
            case PartialMap() if not partial:
                partial = now
            case Progress():
                heard.append(now)
            case Finished():
                heard.append(now)
                batch = 1e3 * event.compute_seconds / event.rows * BATCH
    if method != "score-cam":  # its rows are gradients, one a call
        batch = 0.0
    return Timing(started, partial, float(np.diff(heard).max()), batch)


def _figures(timings: Sequence[Timing]) -> list[Figure]:
    """The 95th percentile of all requests against the limits."""
    limit = PARTIAL_MS + float(np.median([t.batch for t in timings if t.batch]))
    limits = {
        "started": (STARTED_MS, [t.started for t in timings]),
        "first partial map": (limit, [t.partial for t in timings]),
        "longest silence between progress events": (SILENCE_MS, [t.silence for t in timings]),
    }
    return [
        Figure(f"{name}, {word}", value, "ms", f"≤ {most:.0f}", value <= most)
        for name, (most, values) in limits.items()
        for word, value in (
            ("median", float(np.median(values))),
            ("95th percentile", float(np.percentile(values, 95))),
        )
    ]


def _rows(name: str, timings: Sequence[Timing]) -> list[tuple[str, ...]]:
    events = {
        "started": [t.started for t in timings],
        "first partial map": [t.partial for t in timings],
        "longest silence": [t.silence for t in timings],
        "one batch": [t.batch for t in timings],
    }
    return [
        (
            name,
            event,
            f"{np.median(values):.1f}",
            f"{np.percentile(values, 95):.1f}",
            str(len(values)),
        )
        for event, values in events.items()
        if any(values)
    ]
