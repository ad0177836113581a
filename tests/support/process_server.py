"""A server in a process of its own, over an engine that misbehaves as its first word says.

`python -m tests.support.process_server KIND ADDRESS CONFIG.toml [MODELS MARKER]`
"""

import asyncio
import sys
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salience_service.config import read_config
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Event
from salience_service.life.stop_word import leave_when_told
from salience_service.request import ExplainOrder
from salience_service.rpc.server.process import run_until_told, serve
from salience_service.runtime.session import Execution
from salience_service.scheduling.row_graph import RowGraph, RowSpan
from tests.support.serving import STARTED, FakeEngine, patient


def deaf(order: ExplainOrder, control: Control) -> Iterator[Event]:
    """An explanation in a native call that never returns."""
    yield STARTED
    threading.Event().wait()


class StuckGraph:
    """A graph that scores rows, and whose calls never return."""

    def __init__(self, graph: RowGraph) -> None:
        self._graph = graph

    def batch_size(self, shape: tuple[int, ...]) -> int:
        return self._graph.batch_size(shape)

    def shape_key(self, maps: NDArray[np.float32]) -> Hashable:
        return self._graph.shape_key(maps)

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> NDArray[np.float32]:
        threading.Event().wait()
        raise AssertionError("nobody sets it")


def main(kind: str, address: str, config_path: str, *rest: str) -> None:
    config = read_config(Path(config_path), address=address)
    if kind == "stuck-once":
        models, marker = map(Path, rest)
        engine = Engine.open(models, config)
        if not marker.exists():
            marker.touch()
            model = engine.models()[0]
            model.masked = StuckGraph(model.masked)  # type: ignore[assignment]
        asyncio.run(run_until_told(engine, config, _announce, engine))
        engine.close()
    elif kind == "faulty":
        serve(config, Path(rest[0]), _fail)
    elif kind == "opening":
        leave_when_told()
        _announce(address, ())
        time.sleep(600)
    else:
        scripts = {"deaf": deaf, "patient": patient}
        asyncio.run(run_until_told(FakeEngine({"tiny": scripts[kind]}), config, _announce))


def _fail(address: str, models: Sequence[object]) -> None:
    _announce(address, models)
    raise RuntimeError("a fault of ours")


def _announce(address: str, models: Sequence[object]) -> None:
    print("serving on", address, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
