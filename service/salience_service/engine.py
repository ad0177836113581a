"""The engine: models by name, a bounded number of explanations, one scheduler for the device.

No gRPC in it: the same engine answers in process, behind grpc.aio and behind anything else.
"""

import logging
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from salience_service.bundle.repository import find_bundles
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.driver import Pace
from salience_service.errors import BundleRefused, NotFound, Overloaded
from salience_service.events import Event, GradientSide
from salience_service.explain import Explanation
from salience_service.host_threads import keep_numpy_to_one_thread
from salience_service.image.pixels import ImageLimits
from salience_service.model import ServedModel
from salience_service.request import ExplainOrder
from salience_service.scheduler import Scheduler
from salience_service.session import Device
from salience_service.warm_up import warm_up

_log = logging.getLogger(__name__)


class Engine:
    """Answers explanations for the models it holds. Safe from any thread.

    Args:
        models: warmed models, the versions of a name from oldest to newest.
        limits: what an image may be.
        pace: how often a running explanation speaks.
        max_explanations: explanations at a time; one more is refused.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        limits: ImageLimits,
        pace: Pace,
        max_explanations: int,
    ) -> None:
        keep_numpy_to_one_thread()
        self._models = tuple(models)
        self._limits = limits
        self._pace = pace
        self._max_explanations = max_explanations
        self._scheduler = Scheduler()
        self._live = 0
        self._lock = threading.Lock()

    @classmethod
    def open(cls, directory: Path, config: ServeConfig) -> "Engine":
        """Opens, checks and warms every bundle of a models directory.

        A refused bundle is logged and left out; the others serve.

        Raises:
            BundleRefused: no bundle is left.
        """
        models = open_models(directory, config)
        limits = ImageLimits(config.max_encoded_bytes, config.max_image_pixels)
        pace = Pace(config.partial_map_interval_seconds, config.progress_interval_seconds)
        engine = cls(models, limits, pace, config.max_explanations)
        if config.load_torch_at_start:
            for model in models:
                if GradientSide.TORCH in model.gradient_sides:
                    model.gradients.open(GradientSide.TORCH).result()
        return engine

    def models(self) -> tuple[ServedModel, ...]:
        """Every version of every model."""
        return self._models

    def model(self, name: str, version: str = "") -> ServedModel:
        """The model of that name; the newest version where none is named.

        Raises:
            NotFound: no such model, or no such version.
        """
        versions = [model for model in self._models if model.name == name]
        if not versions:
            raise NotFound(f"no model {name!r} here; served are: {self._names()}")
        if not version:
            return versions[-1]
        for model in versions:
            if model.version == version:
                return model
        known = ", ".join(model.version for model in versions)
        raise NotFound(f"model {name} has no version {version!r}; served are: {known}")

    def explain(self, order: ExplainOrder, control: Control) -> Generator[Event, None, None]:
        """Explains one image; runs in the thread that iterates.

        Closing the iterator, or `control.cancel()`, drops the rows not yet run.

        Raises:
            SalienceError: from `next()`, for anything that ends the explanation.
        """
        model = self.model(order.model, order.version)
        beside = self._enter()
        try:
            explanation = Explanation(model, order, control, self._scheduler, self._pace)
            yield from explanation.events(self._limits, beside)
        finally:
            control.cancel()
            self._leave()

    def close(self) -> None:
        """Ends the device thread; running explanations end as cancelled."""
        self._scheduler.close()

    def _enter(self) -> int:
        with self._lock:
            if self._live >= self._max_explanations:
                raise Overloaded(
                    f"{self._live} explanations are running, the limit; try again later"
                )
            self._live += 1
            return self._live - 1

    def _leave(self) -> None:
        with self._lock:
            self._live -= 1

    def _names(self) -> str:
        return ", ".join(dict.fromkeys(model.name for model in self._models))


def open_models(directory: Path, config: ServeConfig) -> list[ServedModel]:
    """Every bundle that opens and meets its golden example, warmed; the others are logged.

    Raises:
        BundleRefused: none is left; the message says why each was refused.
    """
    found = find_bundles(directory)
    reasons = [f"{refused.name}: {refused.reason}" for refused in found.refused]
    device = Device(config.provider, config.threads)
    models = []
    for bundle in found.accepted:
        model = ServedModel(bundle, device, config.masked_batch_size)
        try:
            drift = warm_up(model)
        except BundleRefused as error:
            reasons.append(str(error))
            continue
        _log.info("model %s %s serves, drift %.1e", model.name, model.version, drift)
        models.append(model)
    for reason in reasons:
        _log.error("refused: %s", reason)
    if not models:
        raise BundleRefused("; ".join(reasons) or "the models directory holds no bundle")
    return models
