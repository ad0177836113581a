"""Real engines over the bundles of tests, asked through the client as a user would."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from salience_client import Client, Explanation
from salience_client.in_process import InProcess
from salience_service.bundle.reader import Bundle
from salience_service.engine import Engine
from salience_service.explanation.telling import Pace
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.runtime.session import Device


@contextmanager
def engine_over(*bundles: Bundle, batch_size: int = 4) -> Iterator[Engine]:
    """An engine that serves these bundles on one thread, and speaks at every turn."""
    models = [ServedModel(bundle, Device(threads=1), batch_size) for bundle in bundles]
    engine = Engine(models, ImageLimits(), Pace(0, 0), 64)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def client_over(*bundles: Bundle) -> Iterator[Client]:
    """A client of such an engine, with no network between."""
    with engine_over(*bundles) as engine, Client(InProcess(engine)) as client:
        yield client


def logits_of(explanation: Explanation, classes: int) -> NDArray[np.float64]:
    """All logits [classes] of an explanation that was asked for every class, by `TopK(classes)`."""
    found = {target.index: target.value for target in explanation.prediction.targets}
    return np.array([found[index] for index in range(classes)])
