"""Whole explanations in process, as runs to be timed: the engine."""

from collections.abc import Callable
from pathlib import Path

from salience_service.config import ServeConfig
from salience_service.config.bundles import UNSIGNED_ALLOWED
from salience_service.control import Control
from salience_service.engine import Engine
from salience_service.events import Finished
from salience_service.request import ExplainOrder

DEFAULTS = ServeConfig(bundles=UNSIGNED_ALLOWED)


def explaining(
    models: Path, order: ExplainOrder, config: ServeConfig = DEFAULTS
) -> Callable[[], Finished]:
    """Opens the engine; what it returns answers the order anew at each call."""
    engine = Engine.open(models, config)

    def run() -> Finished:
        *_, finished = engine.explain(order, Control())
        assert isinstance(finished, Finished)
        return finished

    return run
