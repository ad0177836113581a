"""A slow device keeps nobody in the dark: progress comes at least twice a second."""

import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import PartialMap, Prediction, Progress
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.request import ExplainOrder, MethodCall, PreparedImage
from salience_service.runtime.session import Device, Execution
from salience_service.scheduling.row_graph import RowSpan


class SlowGraph:
    """The real masked graph, on a device that takes its time for every batch."""

    def __init__(self, model: ServedModel, seconds: float) -> None:
        self._graph, self._seconds = model.masked, seconds
        self.batch_size = model.masked.batch_size

    def shape_key(self, maps: np.ndarray) -> object:
        return self._graph.shape_key(maps)

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> np.ndarray:
        time.sleep(self._seconds)
        return self._graph.score(spans, execution)


class OneBatchGraph(SlowGraph):
    """A masked graph whose second batch waits until it is let."""

    def __init__(self, model: ServedModel) -> None:
        super().__init__(model, 0)
        self.batches, self.let = itertools.count(), threading.Event()

    def score(self, spans: Sequence[RowSpan], execution: Execution) -> np.ndarray:
        if next(self.batches):
            assert self.let.wait(30)
        return super().score(spans, execution)


SLOWEST = next(
    limit.le
    for limit in ServeConfig.model_fields["progress_interval_seconds"].metadata
    if hasattr(limit, "le")
)
"""The slowest pace that a configuration can ask for."""


@pytest.mark.parametrize("pace", [Pace(), Pace(0.25, SLOWEST)])
# 0.29 s: a batch is done when progress is nearly due, at the slowest pace.
@pytest.mark.parametrize("batch_seconds", [0.29, 0.9])
def test_progress_comes_twice_a_second_however_long_a_batch_takes(
    tiny_bundle: Bundle, batch_seconds: float, pace: Pace
) -> None:
    model = ServedModel(tiny_bundle, Device(threads=1), batch_size=8)
    model.masked = SlowGraph(model, batch_seconds)  # type: ignore[assignment]
    engine = Engine([model], ImageLimits(), pace, 1)
    image = PreparedImage(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
    asked = ExplainOrder("softmax", image, (MethodCall("score-cam", taps=("layer3",)),))
    told = []
    for event in engine.explain(asked, Control()):
        if isinstance(event, Prediction | Progress):
            told.append(time.monotonic())
    engine.close()
    # The median: on a machine that runs this test beside other work, one may be late.
    assert np.median(np.diff(told)) <= 0.5


def test_score_cams_first_partial_map_follows_the_first_batch(tiny_bundle: Bundle) -> None:
    """300 ms plus one batch is what the contract allows; here one batch is all it takes."""
    model = ServedModel(tiny_bundle, Device(threads=1), batch_size=8)
    graph = model.masked = OneBatchGraph(model)  # type: ignore[assignment]
    engine = Engine([model], ImageLimits(), Pace(0, 0), 1)
    image = PreparedImage(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
    asked = ExplainOrder("softmax", image, (MethodCall("score-cam"),))
    done = []
    for event in engine.explain(asked, Control()):
        if isinstance(event, Progress):
            done.append(event.rows_done)
        if isinstance(event, PartialMap):
            break
    graph.let.set()
    engine.close()
    assert done[-1] == 1 + graph.batch_size((4, 4))  # the clean run and one batch


@pytest.mark.parametrize(
    "method",
    [MethodCall("rise", {"masks": 400, "cells": 4}), MethodCall("smooth-grad", {"samples": 30})],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize(("interval", "several"), [(60.0, False), (0.0, True)])
def test_partial_maps_keep_their_distance(
    tiny_bundle: Bundle, interval: float, several: bool, method: MethodCall
) -> None:
    """Those that are drawn of rows so far, and those that a method gives by itself."""
    model = ServedModel(tiny_bundle, Device(threads=1), batch_size=4)
    engine = Engine([model], ImageLimits(), Pace(interval), 1)
    image = PreparedImage(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
    asked = ExplainOrder("softmax", image, (method,))
    told = [each for each in engine.explain(asked, Control()) if isinstance(each, PartialMap)]
    engine.close()
    assert told
    assert (len(told) > 1) is several
