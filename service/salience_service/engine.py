"""The engine: models by name, explanations that are let in or refused, one scheduler for all.

No gRPC in it: the same engine answers in process, behind grpc.aio and behind anything else.
"""

import logging
from collections.abc import Generator, Sequence
from pathlib import Path

from salience_service.admission import MOST_BYTES, MOST_ROWS, Admission, Load
from salience_service.bundle.repository import find_bundles
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.errors import BundleRefused, ConfigRefused, NotFound
from salience_service.events import Event, GradientSide
from salience_service.explanation.cache import ExplanationCache
from salience_service.explanation.driver import Pace
from salience_service.explanation.explain import Explanation
from salience_service.host_threads import keep_numpy_to_one_thread
from salience_service.image.pixels import ImageLimits
from salience_service.models.model import ServedModel
from salience_service.models.warm_up import warm_up
from salience_service.request import ExplainOrder
from salience_service.runtime.session import Lane
from salience_service.scheduling.scheduler import Scheduler, Workload
from salience_service.tune.file import tuning_for

_log = logging.getLogger(__name__)


class Engine:
    """Answers explanations for the models it holds. Safe from any thread.

    Args:
        models: warmed models, the versions of a name from oldest to newest.
        limits: what an image may be.
        pace: how often a running explanation speaks.
        max_explanations: explanations at a time; one more is refused.
        max_rows: that they may ask for together. max_bytes: that they may hold together.
        cache_bytes: of finished explanations kept for who asks the same; 0 keeps none.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        limits: ImageLimits,
        pace: Pace,
        max_explanations: int,
        max_rows: int = MOST_ROWS,
        max_bytes: int = MOST_BYTES,
        cache_bytes: int = 0,
    ) -> None:
        keep_numpy_to_one_thread()
        self._models = tuple(models)
        self._limits = limits
        self._pace = pace
        self._admission = Admission(Load(max_explanations, max_rows, max_bytes))
        self._cache = ExplanationCache(cache_bytes) if cache_bytes else None
        self._scheduler = Scheduler(_lanes(self._models))

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
        engine = cls(
            models,
            limits,
            pace,
            config.max_explanations,
            config.max_queued_rows,
            config.max_queued_bytes,
            config.cache_bytes,
        )
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
        control.check()
        model = self.model(order.model, order.version)
        try:
            explanation = Explanation(model, order, control, self._scheduler, self._pace)
            yield from self._answered(explanation)
        finally:
            control.cancel()

    @property
    def load(self) -> Load:
        """What the explanations that run now take."""
        return self._admission.now

    @property
    def workload(self) -> Workload:
        """What the devices have run so far."""
        return self._scheduler.workload

    def close(self) -> None:
        """Ends the device thread; running explanations end as cancelled."""
        self._scheduler.close()

    def _answered(self, explanation: Explanation) -> Generator[Event, None, None]:
        """The answer kept from an earlier order, or that of the device."""
        cache = self._cache
        key = None if cache is None else explanation.key()
        if cache is None or key is None:
            yield from self._run(explanation, 0)
        elif answer := cache.find(key):
            with self._admission.held(Load(1, 0, answer.size)) as beside:
                yield from explanation.repeated(answer, beside.explanations)
        else:
            yield from cache.kept(key, self._run(explanation, cache.most_bytes))

    def _run(self, explanation: Explanation, keeps: int) -> Generator[Event, None, None]:
        """Runs it where there is room; `keeps`: bytes of an answer that is to be kept."""
        with self._admission.held(explanation.load(self._limits, keeps)) as beside:
            yield from explanation.events(self._limits, beside.explanations)

    def _names(self) -> str:
        return ", ".join(dict.fromkeys(model.name for model in self._models))


def open_models(directory: Path, config: ServeConfig) -> list[ServedModel]:
    """Every bundle that opens and meets its golden example, warmed; the others are logged.

    Raises:
        BundleRefused: none is left; the message says why each was refused.
    """
    found = find_bundles(directory)
    reasons = [f"{refused.name}: {refused.reason}" for refused in found.refused]
    device = config.device
    models = []
    for bundle in found.accepted:
        try:
            tuning = tuning_for(bundle, config)
            model = ServedModel(bundle, device, config.masked_batch_size, tuning)
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


def _lanes(models: Sequence[ServedModel]) -> tuple[Lane, ...]:
    """The lanes of the devices that all models share.

    Raises:
        ConfigRefused: they lie on different ones.
    """
    lanes = {model.device.lanes() for model in models} or {(Lane(),)}
    if len(lanes) > 1:
        raise ConfigRefused("the models of an engine share its devices: open them on the same")
    return lanes.pop()
