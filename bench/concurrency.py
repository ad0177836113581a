"""Small explanations by 1 to 64 clients at a time, beside the bare device work of the same.

One explanation is a Grad-CAM with AD, AI and AG: a PNG of 224×224 in, a float32 map of 224×224
out, over gRPC. Its device work is a forward of one image, a gradient from its last tap on, and a
masked row. `bare` is ONNX Runtime alone on just that: the forward graph cut to logits and tap, the
tail gradient graph of that tap, and the rows as ready-made images in full batches of the forward
graph, at the service's batch size; one call at a time, on all cores. `bare, side by side` is the
same by a call of one thread for each core, which leaves no core waiting. The server is set for
many small requests, as docs/tuning.md says: a call in flight more than there are cores, of one
thread each; `as it comes` is a server with the defaults; `a replica a core` is a server for each
core, each set for many, over which gRPC's round robin shares out the clients' calls. Servers, both
bare sides and clients have a process each; the clients are tasks on one connection (to each
server), each asking anew as soon as it is answered, and their work is counted in. At 64 clients,
total rates are compared in interleaved pairs, of clients who ask for whole explanations
(`explain`); the sweep over the clients, who read event by event (`stream`), is taken in turn,
beside the pairs' median bare rate. Batch fill is the share of the masked graph's row places that
held a row. `control` is bare against bare.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.apart import apart
from bench.bare import bare_explanations
from bench.counted_serving import CountedServer, counted_serving, since
from bench.crowd import Crowd, Heard, percentiles
from bench.explaining import DEFAULTS
from bench.networks import NETWORKS, Network
from bench.pairs import COLUMNS, CONTROL, Pairs, in_pairs, judged, per_thousand, seconds
from bench.report import Curve, Figure, Part, Skipped, Table
from bench.workplace import Workplace, small_cat
from salience_client import AsyncClient
from salience_service.host_threads import usable_cores
from salience_service.scheduling.workload import Workload

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
MANY = CLIENTS[-1]
LEAST_RATE, LEAST_FILL, MOST_SPREAD = 0.9, 0.9, 3.0
BATCH = DEFAULTS.masked_batch_size
"""The service's on CPU."""
BARE_COUNT = 32
"""Explanations of a bare run: full batches."""
ROOM_FOR_MANY = {"max_explanations": MANY, "max_running_per_client": MANY}
SET_FOR_MANY = {"calls_in_flight": usable_cores() + 1, "image_threads": 1}
"""Of the server; the threads of a run of rows follow from it."""
SET_ON_ONE_CORE = SET_FOR_MANY | {"calls_in_flight": 2}
ONE_SERVER, REPLICAS = f"{MANY} clients", f"{MANY} clients, a replica a core"
AS_IT_COMES, SIDE_BY_SIDE = f"{MANY} clients, as it comes", "bare, side by side"
IN_PAIRS = 6
"""Explanations a client in a run of the pairs: at its end ever fewer clients ask, and the cores
wait; of three each that was a larger share (EfficientNet-Lite0 0.91 and 0.89 in two runs)."""


@dataclass(frozen=True)
class Level:
    """What so many clients heard.

    Attributes:
        seconds: of all of it.
        ran: what the device ran for them.
    """

    clients: int
    seconds: float
    heard: tuple[Heard, ...]
    ran: Workload

    @property
    def rate(self) -> float:
        """Explanations a second."""
        return len(self.heard) / self.seconds

    def times(self) -> dict[str, tuple[float, ...]]:
        """Percentiles by what was timed, in milliseconds."""
        timed = {
            "whole": [each.whole for each in self.heard],
            "first event": [each.first for each in self.heard],
            "gap between progress events": [gap for each in self.heard for gap in each.gaps],
        }
        return {name: tuple(1e3 * p for p in percentiles(each)) for name, each in timed.items()}


def measure(place: Workplace) -> Part:
    """Every network that is here."""
    found = [_network(place, NETWORKS[name]) for name in place.networks]
    return Part(
        "concurrency",
        __doc__ or "",
        tuple(figure for part in found for figure in part.figures),
        tuple(table for part in found for table in part.tables),
        tuple(curve for part in found for curve in part.curves),
    )


def _network(place: Workplace, network: Network) -> Part:
    try:
        models = place.models_of(network)
    except Skipped as reason:
        return Part("", "", tables=(Table(network.name, ("skipped",), ((str(reason),),)),))
    taken, levels = _taken(place, models, network)
    bare_rate = 1000 / float(np.median([s for pairs in taken.values() for s in pairs.baseline]))
    pairs_table = Table(
        f"{network.name}, seconds of 1,000 explanations",
        COLUMNS,
        tuple(pairs.row(name) for name, pairs in taken.items()),
    )
    return Part(
        "",
        "",
        tuple(_figures(network, taken, levels[-1])),
        (pairs_table, _sweep_table(network, levels, bare_rate)),
        tuple(_curves(network, levels, bare_rate)),
    )


def _taken(
    place: Workplace, models: Path, network: Network
) -> tuple[dict[str, Pairs], list[Level]]:
    """The pairs at 64 clients, and the sweep."""
    picture = small_cat()
    with (
        apart(bare_explanations, models, network, picture, BATCH, BARE_COUNT) as bare,
        apart(
            bare_explanations, models, network, picture, BATCH, BARE_COUNT, usable_cores()
        ) as side_by_side,
        counted_serving(models, **ROOM_FOR_MANY, **SET_FOR_MANY) as server,
        counted_serving(models, **ROOM_FOR_MANY) as plain,
        _a_replica_a_core(models) as replicas,
        asyncio.Runner() as runner,
    ):
        crowd, other, shared_out = (
            runner.run(_crowd(address, network, picture))
            for address in (server.address, plain.address, replicas)
        )
        each = 1 if place.quick else IN_PAIRS

        def many(crowd: Crowd) -> Callable[[], object]:
            return per_thousand(lambda: runner.run(crowd.ask(MANY, each)), MANY * each)

        taken = in_pairs(
            {
                ONE_SERVER: many(crowd),
                REPLICAS: many(shared_out),
                AS_IT_COMES: many(other),
                SIDE_BY_SIDE: per_thousand(side_by_side, BARE_COUNT),
            },
            per_thousand(bare, BARE_COUNT),
            place.pairs,
        )
        levels = [_level(runner, crowd, server, clients, place.quick) for clients in CLIENTS]
        for each_crowd in (crowd, other, shared_out):
            runner.run(each_crowd.client.close())
    return taken, levels


@contextmanager
def _a_replica_a_core(models: Path) -> Iterator[str]:
    """The name of all of them."""
    settings = ROOM_FOR_MANY | SET_ON_ONE_CORE
    with ExitStack() as running:
        servers = [
            running.enter_context(counted_serving(models, core, **settings))
            for core in sorted(os.sched_getaffinity(0))
        ]
        yield f"ipv4:{','.join(server.address for server in servers)}"


async def _crowd(address: str, network: Network, picture: bytes) -> Crowd:
    return Crowd(
        AsyncClient(address, round_robin=True, timeout=600),
        picture,
        {"model": network.name, "methods": "grad-cam", "scores": ("ad", "ai", "ag")},
    )


def _level(
    runner: asyncio.Runner, crowd: Crowd, server: CountedServer, clients: int, quick: bool
) -> Level:
    """One level: at least 200 explanations, and 8 a client, so that there is a 99th percentile."""
    each = 1 if quick else max(8, -(-200 // clients))
    before, heard = server.workload(), list[Heard]()
    taken = seconds(lambda: heard.extend(runner.run(crowd.hear(clients, each))))
    return Level(clients, taken, tuple(heard), since(before, server.workload()))


def _figures(network: Network, taken: dict[str, Pairs], last: Level) -> list[Figure]:
    speeds = {which: pairs.speed.median for which, pairs in taken.items()}
    room = taken[CONTROL].speed.half_spread
    speed, plain, beside = (speeds[each] for each in (ONE_SERVER, AS_IT_COMES, SIDE_BY_SIDE))
    name = f"{network.name}, {ONE_SERVER}"
    middle, _, slow = last.times()["whole"]
    return [
        *(
            Figure(
                f"{network.name}, {which}: total rate ÷ bare",
                speeds[which],
                "",
                f"≥ {LEAST_RATE}",
                judged(speeds[which] - LEAST_RATE, room),
            )
            for which in (ONE_SERVER, REPLICAS)
        ),
        Figure(f"{network.name}, {AS_IT_COMES}: total rate ÷ bare", plain, ""),
        Figure(f"{name}: total rate ÷ {SIDE_BY_SIDE}", speed / beside, ""),
        Figure(f"{name}: {SIDE_BY_SIDE} ÷ bare", beside, ""),
        Figure(f"{name}: control, bare ÷ bare", taken[CONTROL].speed.median, ""),
        Figure(f"{name}: control's half spread", room, ""),
        Figure(
            f"{name}: batch fill",
            last.ran.fill,
            "",
            f"≥ {LEAST_FILL}",
            last.ran.fill >= LEAST_FILL,
        ),
        Figure(
            f"{name}: 99th percentile of whole explanations ÷ the median",
            slow / middle,
            "×",
            f"≤ {MOST_SPREAD:.0f}",
            slow <= MOST_SPREAD * middle,
        ),
        *(
            Figure(f"{name}: {what}, {nth}th percentile", value, "ms")
            for what, values in last.times().items()
            for nth, value in zip((50, 95, 99), values, strict=True)
        ),
    ]


def _sweep_table(network: Network, levels: list[Level], bare_rate: float) -> Table:
    rows = []
    for level in levels:
        times = [" / ".join(f"{ms:.0f}" for ms in each) for each in level.times().values()]
        count = len(level.heard)
        rows.append(
            (
                str(level.clients),
                f"{level.rate:.1f}",
                f"{level.rate / bare_rate:.3f}",
                f"{level.ran.fill:.3f}",
                f"{level.ran.calls / count:.2f} + {level.ran.rows / count:.2f}",
                *times,
                str(count),
            )
        )
    columns = (
        "clients",
        "explanations/s",
        "÷ bare",
        "batch fill",
        "calls + rows each",
        *levels[0].times(),
    )
    title = f"{network.name}, sweep; milliseconds: 50th / 95th / 99th percentile"
    return Table(title, (*columns, "explanations"), tuple(rows))


def _curves(network: Network, levels: list[Level], bare_rate: float) -> list[Curve]:
    rates = [
        Curve(
            "Total rate ÷ bare rate",
            network.name,
            "clients",
            "",
            tuple((level.clients, level.rate / bare_rate) for level in levels),
        ),
        Curve(
            "Batch fill",
            network.name,
            "clients",
            "",
            tuple((level.clients, level.ran.fill) for level in levels),
        ),
    ]
    times = [
        Curve(
            "Whole explanations",
            f"{network.name}, {nth}th percentile",
            "clients",
            "ms",
            tuple((level.clients, level.times()["whole"][number]) for level in levels),
        )
        for number, nth in enumerate((50, 95, 99))
    ]
    return [*rates, *times]
