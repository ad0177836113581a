"""Memory of a server over 10,000 explanations: RssAnon of /proc/PID/status as it goes on.

`salience serve` over EfficientNet-Lite0 with its own configuration, a PNG of 224×224, four clients
at a time. Of eight explanations five are Fake-CAMs, two RISEs of eight masks with partial maps, one
a Grad-CAM with AD, AI and AG. RssAnon is what the process holds without the pages of files, which
the system drops and fetches again as it likes. Growth is the highest sample after the warm-up, a
tenth of the explanations, less that at its end, in megabytes of 10⁶ bytes; VmHWM is the most that
the process ever held, files included.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from bench.fit import Line
from bench.report import Curve, Figure, Part, Skipped, Table
from bench.serving import Served, serving
from bench.workplace import MODEL, Workplace, small_cat
from salience_client import AsyncClient, Method
from salience_client.request import RequestOptions

MOST_MB = 20.0
EXPLANATIONS, QUICK_EXPLANATIONS = 10_000, 300
CLIENTS = 4
SAMPLES = 100

Sample = tuple[int, float]
"""Explanations done, and megabytes."""


def measure(place: Workplace) -> Part:
    """Growth after the warm-up."""
    if not Path("/proc/self/status").exists():
        raise Skipped("RssAnon is read from /proc, which this system does not have")
    count = QUICK_EXPLANATIONS if place.quick else EXPLANATIONS
    with serving(place.models) as served:
        samples = asyncio.run(_samples(served, small_cat(), count))
        peak = served.memory("VmHWM")
    warm = count // 10
    growth = grown(samples, warm)
    rest = [sample for sample in samples if sample[0] >= warm]
    flat = len({megabytes for _, megabytes in rest}) == 1
    slope = 0.0 if flat else Line.through(*zip(*rest, strict=True)).slope
    rows = tuple((f"{done:,}", f"{megabytes:.1f}") for done, megabytes in samples)
    return Part(
        "endurance",
        __doc__ or "",
        (
            Figure(
                f"growth of RssAnon after {warm:,} of {count:,} explanations",
                growth,
                "MB",
                f"≤ {MOST_MB:.0f}",
                growth <= MOST_MB,
            ),
            Figure("its slope after the warm-up", 1000 * slope, "MB per 1,000"),
            Figure("VmHWM at the end", peak, "MB"),
        ),
        (Table("RssAnon", ("explanations", "MB"), rows),),
        (Curve("Memory of a server", "RssAnon", "explanations", "MB", tuple(samples)),),
    )


def grown(samples: list[Sample], warm: int) -> float:
    """Megabytes of the highest sample after `warm` explanations beyond the last until then."""
    *_, before = (megabytes for done, megabytes in samples if done <= warm)
    return max(megabytes for done, megabytes in samples if done > warm) - before


async def _samples(served: Served, picture: bytes, count: int) -> list[Sample]:
    """Asks for everything; samples the memory a hundred times on the way."""
    samples, orders = list[Sample](), iter(_orders(count))
    done = 0

    async def ask(client: AsyncClient) -> None:
        nonlocal done
        for order in orders:
            await client.explain(picture, **order)
            done += 1
            if done % (count // SAMPLES) == 0:
                samples.append((done, served.memory("RssAnon")))

    async with AsyncClient(served.address, timeout=600) as client:
        await asyncio.gather(*(ask(client) for _ in range(CLIENTS)))
    return samples


def _orders(count: int) -> Iterator[RequestOptions]:
    fake: RequestOptions = {"model": MODEL, "methods": "fake-cam"}
    rise: RequestOptions = {
        "model": MODEL,
        "methods": Method("rise", masks=8),
        "partial_maps": True,
    }
    grad: RequestOptions = {"model": MODEL, "methods": "grad-cam", "scores": ("ad", "ai", "ag")}
    cycle = (fake, rise, fake, grad, fake, fake, rise, fake)
    return (cycle[number % len(cycle)] for number in range(count))
