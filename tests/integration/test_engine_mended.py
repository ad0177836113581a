"""A model whose sessions fail is opened anew while the server serves, and answers again."""

import threading
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from salience_client import Client
from salience_client.errors import ServerFailed
from salience_client.in_process import InProcess
from salience_service.bundle.reader import Bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import ComputeFailed
from salience_service.inference.order import InferOrder
from salience_service.models.model import Forward
from salience_service.runtime.session import Execution
from salience_service.scheduling.row_graph import RowGraph, RowSpan
from tests.support.model_versions import PIXELS, add_version, config_of
from tests.support.waiting import SOON_SECONDS


class FailingGraph:
    """A graph that scores no rows: the device has no memory left, say."""

    def __init__(self, graph: RowGraph) -> None:
        self._graph = graph

    def batch_size(self, shape: tuple[int, ...]) -> int:
        return self._graph.batch_size(shape)

    def shape_key(self, maps: NDArray[np.float32]) -> Hashable:
        return self._graph.shape_key(maps)

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> NDArray[np.float32]:
        raise ComputeFailed("the model failed on the device")


@pytest.fixture
def engine(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[Engine]:
    add_version(tiny_bundle, tmp_path, "1", "failing")
    add_version(tiny_bundle, tmp_path, "1", "sound")
    opened = Engine.open(tmp_path, config_of())
    yield opened
    opened.close()


@pytest.fixture
def client(engine: Engine) -> Client:
    """Closing it would close the engine, which its fixture does."""
    return Client(InProcess(engine))


def break_session(engine: Engine) -> None:
    model = engine.model("failing")
    model.masked = FailingGraph(model.masked)  # type: ignore[assignment]


def map_of(client: Client, model: str) -> NDArray[np.float32]:
    return client.explain(PIXELS, model=model, methods=["score-cam"]).maps[0].array


def test_three_failures_in_a_row_open_the_model_anew_and_the_fourth_call_is_answered(
    engine: Engine, client: Client
) -> None:
    changed = threading.Event()
    break_session(engine)
    before = engine.model("failing")
    engine.on_change(changed.set)
    for _ in range(3):
        assert not changed.is_set()
        with pytest.raises(ServerFailed):
            map_of(client, "failing")
    assert changed.wait(SOON_SECONDS)
    assert engine.model("failing") is not before
    np.testing.assert_array_equal(map_of(client, "failing"), map_of(client, "sound"))


def test_predictions_that_fail_open_the_model_anew_as_explanations_do(engine: Engine) -> None:
    changed = threading.Event()
    order = InferOrder("failing", PIXELS[np.newaxis])
    before = engine.model("failing")

    def fail(*_: object) -> Forward:
        raise ComputeFailed("the model failed on the device")

    before.forward = fail  # type: ignore[method-assign]
    engine.on_change(changed.set)
    for _ in range(3):
        assert not changed.is_set()
        with pytest.raises(ComputeFailed):
            engine.infer(order, Control())
    assert changed.wait(SOON_SECONDS)
    assert engine.model("failing") is not before
    assert engine.infer(order, Control()).images == 1


def test_neighbours_of_a_failing_model_are_answered_as_if_nothing_was(
    engine: Engine, client: Client
) -> None:
    alone = map_of(client, "sound")
    break_session(engine)
    found: list[NDArray[np.float32]] = []

    def ask() -> None:
        found.append(map_of(client, "sound"))

    def fail() -> None:
        with pytest.raises(ServerFailed):
            map_of(client, "failing")

    threads = [threading.Thread(target=target) for target in (ask, fail, ask, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_SECONDS)
    assert len(found) == 3
    for values in found:
        np.testing.assert_array_equal(values, alone)
