"""While torch loads, for seconds, whoever waits for it is told, can leave, and bars nobody."""

import shutil
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.errors import BundleRefused, Cancelled, DeadlineExceeded
from salience_service.events import FinishedMap, GradientSide, Progress
from salience_service.explanation.telling import Pace
from salience_service.gradients.differentiator import Differentiator
from salience_service.gradients.sides import GradientSides
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.request import ExplainOrder, GradientChoice, MethodCall, PreparedImage
from salience_service.runtime.session import Device

IMAGE = PreparedImage(np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32))
CLIMB = ExplainOrder(
    "softmax",
    IMAGE,
    (MethodCall("opti-cam", {"iterations": 2}),),
    gradient_side=GradientChoice.TORCH,
)


class LoadingSides(GradientSides):
    """The sides of a bundle, whose torch side loads until the test says how that ended."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, Device(threads=1))
        self.loading: Future[Differentiator] = Future()

    def open(self, side: GradientSide) -> Future[Differentiator]:
        assert side is GradientSide.TORCH
        return self.loading

    def load(self) -> None:
        self.loading.set_result(super().open(GradientSide.TORCH).result())


def loading_model(bundle: Bundle) -> tuple[ServedModel, LoadingSides]:
    model, sides = ServedModel(bundle, Device(threads=1), batch_size=4), LoadingSides(bundle)
    model.gradients = sides
    return model, sides


def engine_over(model: ServedModel) -> Engine:
    return Engine([model], ImageLimits(), Pace(), 2)


def test_progress_is_told_at_least_twice_a_second_and_the_map_follows(tiny_bundle: Bundle) -> None:
    model, sides = loading_model(tiny_bundle)
    engine = engine_over(model)
    began, told, maps = time.monotonic(), [], 0
    for event in engine.explain(CLIMB, Control()):
        maps += isinstance(event, FinishedMap)
        if not sides.loading.done() and isinstance(event, Progress):
            told.append(time.monotonic())
            if len(told) == 4:
                sides.load()
    engine.close()
    assert maps == 1
    assert np.median(np.diff([began, *told])) < 0.5  # One may be late on a busy machine.


def test_who_waits_can_leave(tiny_bundle: Bundle) -> None:
    engine, control = engine_over(loading_model(tiny_bundle)[0]), Control()
    events = engine.explain(CLIMB, control)
    while not isinstance(next(events), Progress):
        pass
    control.cancel()
    with pytest.raises(Cancelled):
        next(events)
    engine.close()


def test_a_deadline_ends_the_waiting(tiny_bundle: Bundle) -> None:
    engine, began = engine_over(loading_model(tiny_bundle)[0]), time.monotonic()
    with pytest.raises(DeadlineExceeded):
        list(engine.explain(CLIMB, Control(began + 0.6)))
    assert time.monotonic() - began < 10  # It never loads.
    engine.close()


def test_a_load_that_failed_is_tried_anew(tiny_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle.directory, tmp_path / "1")
    bundle = open_bundle(tmp_path / "1")
    sides = GradientSides(bundle, Device(threads=1))
    program = bundle.path(bundle.manifest.torch_program)
    program.rename(tmp_path / "away")
    with pytest.raises(BundleRefused, match="missing"):
        sides.open(GradientSide.TORCH).result()
    (tmp_path / "away").rename(program)
    assert sides.open(GradientSide.TORCH).result() is sides.open(GradientSide.TORCH).result()
