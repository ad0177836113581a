"""A server in a process of its own that tells what its devices have run.

It is the engine and the server of `salience serve`, with a way to the scheduler's counts.
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.engine import Engine
from salience_service.rpc.server.process import run_until_told
from salience_service.scheduling.workload import Workload


@dataclass(frozen=True)
class CountedServer:
    """A running server: where it listens, and the way to its counts."""

    address: str
    _link: Connection

    def workload(self) -> Workload:
        """What it has run since it serves."""
        self._link.send(True)
        told: Workload = self._link.recv()
        return told


@contextmanager
def counted_serving(
    models: Path, core: int | None = None, **settings: object
) -> Iterator[CountedServer]:
    """A server over a models directory.

    Args:
        models: the directory.
        core: the only one that it runs on; None = on all.
        **settings: as `serving` takes them.
    """
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(there, models, core, settings))
    process.start()
    there.close()
    try:
        yield CountedServer(here.recv(), here)
    finally:
        process.terminate()
        process.join()


def since(before: Workload, after: Workload) -> Workload:
    """What ran between the two."""
    return Workload(
        after.calls - before.calls,
        after.batches - before.batches,
        after.rows - before.rows,
        after.places - before.places,
    )


def _serve(link: Connection, models: Path, core: int | None, settings: dict[str, object]) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    stated = {"address": "127.0.0.1:0", "bundles": UNSIGNED_ALLOWED, **settings}
    config = ServeConfig.model_validate(stated)
    engine = Engine.open(models, config)

    def answer() -> None:
        while link.recv():
            link.send(engine.workload)

    def announce(address: str, _: object) -> None:
        link.send(address)
        threading.Thread(target=answer, daemon=True).start()

    try:
        asyncio.run(run_until_told(engine, config, announce))
    finally:
        engine.close()
