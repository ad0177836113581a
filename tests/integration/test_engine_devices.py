"""Several devices: one queue for all, the same bits from each, and they run side by side.

The CPU stands in for GPUs: each device number is a session of its own.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import Cancelled, ConfigRefused
from salience_service.events import FinishedMap, Progress
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.request import (
    ExplainOrder,
    Geometry,
    MapFormat,
    MethodCall,
    PreparedImage,
    Scale,
)
from salience_service.runtime.session import Device, Execution, Lane
from salience_service.scheduling.account import Account
from salience_service.scheduling.row_graph import RowGraph, RowSpan
from salience_service.scheduling.scheduler import Scheduler

ONE = Device(threads=1)
TWO = replace(ONE, numbers=(0, 1), calls=2)
FOUR_LANES = replace(ONE, calls=4)
RAW = MapFormat(geometry=Geometry.FEATURE, scale=Scale.RAW)
METHODS = tuple(MethodCall(name) for name in ("score-cam", "rise", "grad-cam", "ablation-cam"))
SHORT = (
    MethodCall("poly-cam"),
    MethodCall("opti-cam", {"iterations": 5}),
    MethodCall("integrated-gradients", {"steps": 5}),
    MethodCall("ablation-cam"),
    MethodCall("rise", {"masks": 50}),
)


def engine_on(bundle: Bundle, *devices: Device) -> Engine:
    models = [ServedModel(bundle, device, batch_size=4) for device in devices]
    return Engine(models, ImageLimits(), Pace(0, 0), 64)


def order(seed: int, methods: Sequence[MethodCall] = METHODS) -> ExplainOrder:
    pixels = np.random.default_rng(seed).normal(size=(3, 32, 32)).astype(np.float32)
    return ExplainOrder("softmax", PreparedImage(pixels), tuple(methods), format=RAW)


def maps_of(engine: Engine, seed: int, methods: Sequence[MethodCall] = METHODS) -> list[bytes]:
    events = engine.explain(order(seed, methods), Control())
    return [event.encoded.data for event in events if isinstance(event, FinishedMap)]


def leave_in_the_middle(engine: Engine, seed: int) -> None:
    """Asks for what others ask for too, and cancels when the first rows are done."""
    control = Control()
    with suppress(Cancelled):
        for event in engine.explain(order(seed, SHORT), control):
            if isinstance(event, Progress):
                control.cancel()


def test_four_lanes_on_two_devices_give_the_bits_of_one(tiny_bundle: Bundle) -> None:
    alone = engine_on(tiny_bundle, ONE)
    expected = [maps_of(alone, seed) for seed in range(3)]
    alone.close()
    engine, found = engine_on(tiny_bundle, TWO), dict[int, list[bytes]]()
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: maps_of(engine, seed)}))
        for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    assert [found[seed] for seed in range(3)] == expected
    assert len(expected[0]) == len(METHODS)


def test_lanes_of_one_cpu_give_the_bits_of_one_beside_others_and_those_who_leave(
    tiny_bundle: Bundle,
) -> None:
    alone = engine_on(tiny_bundle, ONE)
    expected = {seed: maps_of(alone, seed, SHORT) for seed in range(4)}
    alone.close()
    engine, found = engine_on(tiny_bundle, FOUR_LANES), dict[int, list[bytes]]()
    stay = [
        threading.Thread(target=lambda s=seed: found.update({s: maps_of(engine, s, SHORT)}))
        for seed in range(4)
    ]
    leave = [threading.Thread(target=leave_in_the_middle, args=(engine, seed)) for seed in range(4)]
    for thread in (*leave, *stay):
        thread.start()
    for thread in (*leave, *stay):
        thread.join()
    engine.close()
    assert found == expected
    assert len(expected[0]) == len(SHORT)


def test_every_lane_of_every_device_runs_beside_the_others(tiny_bundle: Bundle) -> None:
    model = ServedModel(tiny_bundle, TWO, batch_size=4)
    scheduler = Scheduler(TWO.lanes())
    together, places = threading.Barrier(4), list[int]()
    image = np.zeros((3, 32, 32), np.float32)

    def call(execution: Execution) -> np.ndarray:
        together.wait(30)  # Passed by four that run at a time, or by none.
        places.append(execution.lane.place)
        return model.forward(image, (), execution).logits

    tickets = [scheduler.call(call, Control(), Account()) for _ in range(4)]
    done = [ticket.wait(0, 30) for ticket in tickets]
    scheduler.close()
    assert done == [1, 1, 1, 1]
    assert sorted(places) == [0, 0, 1, 1]


def test_an_engine_has_a_thread_for_every_lane_of_its_models(tiny_bundle: Bundle) -> None:
    before = set(threading.enumerate())
    engine = engine_on(tiny_bundle, TWO, TWO)
    lanes = set(threading.enumerate()) - before
    names = sorted(thread.name for thread in lanes if "device" in thread.name)
    assert names == [f"salience-device-{number}" for number in range(4)]
    engine.close()
    assert not any(thread.is_alive() for thread in lanes if "device" in thread.name)


def test_models_on_different_devices_are_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(ConfigRefused, match="share its devices"):
        engine_on(tiny_bundle, ONE, TWO)


def test_where_engines_are_built_warm_up_leaves_none_to_a_request(tiny_bundle: Bundle) -> None:
    model = ServedModel(tiny_bundle, ONE, batch_size=4)
    model.device = replace(ONE, provider="tensorrt")  # Its sessions are the CPU's all the same.
    assert model.pixel_masked is not None
    graphs = [SharedBatches(model.masked), SharedBatches(model.pixel_masked)]
    model.masked, model.pixel_masked = graphs  # type: ignore[assignment]
    warm_up(model)
    assert graphs[0].shared == {(side, side) for side in (4, 8, 16, 32)}
    assert graphs[1].shared == {(32, 32)}
    assert all(model.tails.open(tap).done() for tap in tiny_bundle.manifest.taps)


def test_warm_up_runs_on_every_device_and_not_on_every_lane(tiny_bundle: Bundle) -> None:
    model = ServedModel(tiny_bundle, TWO, batch_size=4)
    assert model.pixel_masked is not None
    graphs = [SharedBatches(model.masked), SharedBatches(model.pixel_masked)]
    model.masked, model.pixel_masked = graphs  # type: ignore[assignment]
    warm_up(model)
    assert [graph.lanes for graph in graphs] == [{Lane(0, 0), Lane(1, 1)}] * 2


class SharedBatches:
    """A real graph, with notes: on which lanes, and for which shapes several sources at once."""

    def __init__(self, graph: RowGraph) -> None:
        self._graph = graph
        self.batch_size = graph.batch_size
        self.shared: set[tuple[int, ...]] = set()
        self.lanes: set[Lane] = set()

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> np.ndarray:
        self.lanes.add(execution.lane)
        if len({id(span.source) for span in spans}) > 1:
            self.shared.add(spans[0].maps.shape[1:])
        return self._graph.score(spans, execution)
