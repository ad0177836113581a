"""Tuning: runs every graph of a bundle at every batch size and number of threads, side by side.

A trial runs on as many lanes at a time as a server has for the device: what they take from each
other is part of it.
Rounds go through all trials in an order drawn anew, and the median over rounds counts: a
machine that slows down for a while slows none of them alone.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from salience_service.bundle.reader import Bundle
from salience_service.bundle.repository import find_bundles
from salience_service.errors import BundleRefused, ComputeFailed, NotFound
from salience_service.host_threads import keep_numpy_to_one_thread, usable_cores
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.runtime.providers import builds_engines
from salience_service.runtime.session import Device, Lane
from salience_service.tune.choice import Rates, Trial
from salience_service.tune.trials import Call, Opener, Trials

SIZES = {
    "cpu": (1, 2, 4, 8, 16, 32, 64),
    "cuda": (8, 16, 32, 64, 128, 256),
    "tensorrt": (16, 32, 64, 128),
}
"""Batch sizes that are tried, by provider; TensorRT builds an engine for each."""
ROUNDS = 5
LEAST_SECONDS = 0.05
"""A trial is run for so long untimed, then timed: ONNX Runtime's threads spin for some
milliseconds when their run is over, and would take cores from the next trial's."""

Told = Callable[[int, int], None]
"""Is told how many trials of how many are timed."""


def threads_to_try(provider: str) -> tuple[int, ...]:
    """Powers of two below the cores of this process, and all of them.

    0, the runtime's own choice, where it is not the CPU that runs the graphs.
    """
    if provider != "cpu":
        return (0,)
    cores = usable_cores()
    return tuple(sorted({2**power for power in range(cores.bit_length())} | {cores}))


@dataclass(frozen=True)
class Candidates:
    """What is tried.

    Attributes:
        batch_sizes: rows of a call, rising; of a tail `TAIL_BATCHES` times as many, up to 1,024.
        threads: CPU threads per graph run.
        rounds: times that each is timed.
    """

    batch_sizes: tuple[int, ...]
    threads: tuple[int, ...]
    rounds: int = ROUNDS


def bundles_of(directory: Path, name: str = "") -> Sequence[Bundle]:
    """The bundles of a models directory; of one name, if one is given.

    Raises:
        BundleRefused: the directory holds no good bundle, with the reasons.
        NotFound: none of that name.
    """
    found = find_bundles(directory)
    if not found.accepted:
        reasons = [f"{each.name}: {each.reason}" for each in found.refused]
        raise BundleRefused("; ".join(reasons) or "the models directory holds no bundle")
    named = [bundle for bundle in found.accepted if name in ("", bundle.manifest.name)]
    if not named:
        known = ", ".join(dict.fromkeys(bundle.manifest.name for bundle in found.accepted))
        raise NotFound(f"no model {name!r} here; there are: {known}")
    return named


def measured(
    bundle: Bundle, device: Device, candidates: Candidates, told: Told = lambda *_: None
) -> Rates:
    """Rows a second of every graph at every candidate, on all lanes of one of the devices.

    Sessions for every number of threads are open at a time.

    Raises:
        BundleRefused: the bundle drifts from its golden example on this device.
        ComputeFailed: the provider did not come up.
    """
    keep_numpy_to_one_thread()
    openers: dict[Trial, Opener] = {}
    with ExitStack() as models:  # Closed, they leave the device's memory to the next bundle.
        for threads in candidates.threads:
            for sizes in sizes_by_model(device, candidates.batch_sizes):
                model = ServedModel(bundle, _one(device, threads), sizes[0])
                models.callback(model.close)
                warm_up(model)
                for graph, size, opener in Trials(model).all(sizes):
                    openers[Trial(graph, threads, size)] = opener
        return timed(openers, candidates.rounds, told, lanes=_one(device, 0).lanes())


def _one(device: Device, threads: int) -> Device:
    """One of the devices, for calls of any number of rows."""
    return replace(device, threads=threads, numbers=device.numbers[:1], any_batch=True)


def sizes_by_model(device: Device, sizes: Sequence[int]) -> Sequence[Sequence[int]]:
    """The sizes that one model's sessions can run: one, where an engine is built for each."""
    return [[size] for size in sizes] if builds_engines(device) else [sizes]


def timed(
    openers: Mapping[Trial, Opener],
    rounds: int,
    told: Told = lambda *_: None,
    clock: Callable[[], float] = time.perf_counter,
    lanes: Sequence[Lane] = (Lane(),),
) -> Rates:
    """The median rate of each trial over rounds in random order; 0 of one that failed."""
    order, found = random.Random(0), {trial: list[float]() for trial in openers}
    trials = [trial for _ in range(rounds) for trial in order.sample([*openers], len(openers))]
    with ThreadPoolExecutor(len(lanes)) as threads:
        for count, trial in enumerate(trials):
            if 0.0 not in found[trial]:
                bench = _Bench(threads, lanes, clock)
                found[trial].append(bench.rate(openers[trial], trial.batch_size))
            told(count + 1, len(trials))
    return {trial: 0.0 if 0.0 in rates else median(rates) for trial, rates in found.items()}


@dataclass(frozen=True)
class _Bench:
    """Where a trial is timed: on all lanes at a time, a thread each."""

    threads: Executor
    lanes: Sequence[Lane]
    clock: Callable[[], float]

    def rate(self, opener: Opener, rows: int) -> float:
        """Rows a second of calls that run so many rows each; 0 where one fails."""
        try:
            call = opener()
            self._calls_a_second(call)
            return rows * self._calls_a_second(call)
        except ComputeFailed:  # for want of memory, most likely
            return 0.0

    def _calls_a_second(self, call: Call) -> float:
        return sum(self.threads.map(lambda lane: self._of_lane(call, lane), self.lanes))

    def _of_lane(self, call: Call, lane: Lane) -> float:
        """Calls a second of one lane."""
        began, calls, seconds = self.clock(), 0, 0.0
        while seconds < LEAST_SECONDS:
            call(lane)
            calls += 1
            seconds = self.clock() - began
        return calls / seconds
