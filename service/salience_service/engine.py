"""The engine: models by name, explanations that are let in or refused, one scheduler for all.

No gRPC in it: the same engine answers in process, behind grpc.aio and behind anything else.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from salience_service.admission import MOST_BYTES, MOST_ROWS, Admission, Load
from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.directory.models_directory import ModelsDirectory
from salience_service.errors import NotFound, Overloaded
from salience_service.events import Event
from salience_service.explanation.cache import ExplanationCache
from salience_service.explanation.explain import Explanation
from salience_service.explanation.image_footprint import sent_bytes
from salience_service.explanation.telling import Pace
from salience_service.host_threads import keep_numpy_to_one_thread
from salience_service.image.pixels import ImageLimits
from salience_service.inference.inference import Inference
from salience_service.inference.order import InferOrder, Inferred
from salience_service.models.model import ServedModel
from salience_service.models.repository import ModelRepository
from salience_service.models.standing import Standing
from salience_service.request import ExplainOrder
from salience_service.runtime.session import Execution
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scheduling.workload import Occupancy, Workload

_MOST_BROUGHT = 8
"""Times that one request has its model loaded, where others push it out again before it is leased;
then the request is refused."""


class Engine:
    """Answers explanations for the models it holds. Safe from any thread.

    Args:
        models: a repository of warm models, or such models for one of its own.
        limits: what an image may be.
        pace: how often a running explanation speaks.
        max_explanations: explanations at a time; one more is refused.
        max_rows: that they may ask for together. max_bytes: that they may hold together.
        max_rows_each: that one may ask for; 0 = `max_rows`.
        cache_bytes: of finished explanations kept for who asks the same; 0 keeps none.
        failures_before_check: of a model in a row, until it is opened anew and checked.
        directory: where the models of that repository come from; closed with the engine.
    """

    def __init__(
        self,
        models: ModelRepository | Sequence[ServedModel],
        limits: ImageLimits,
        pace: Pace,
        max_explanations: int,
        max_rows: int = MOST_ROWS,
        max_bytes: int = MOST_BYTES,
        cache_bytes: int = 0,
        max_rows_each: int = 0,
        failures_before_check: int = 3,
        *,
        directory: ModelsDirectory | None = None,
    ) -> None:
        keep_numpy_to_one_thread()
        self._repository = (
            models if isinstance(models, ModelRepository) else ModelRepository(models)
        )
        self._repository.on_closed(self._forget)
        self._directory = directory
        self._standing = Standing(failures_before_check, self._mend)
        self._limits = limits
        self._pace = pace
        self._admission = Admission(
            Load(max_explanations, max_rows, max_bytes), max_rows_each or max_rows
        )
        self._cache = ExplanationCache(cache_bytes) if cache_bytes else None
        self._scheduler = Scheduler(self._repository.lanes)

    @classmethod
    def open(cls, directory: Path, config: ServeConfig) -> "Engine":
        """Opens, checks and warms the bundles of a models directory that the policy wants.

        A refused bundle is logged and left out; the others serve. From then on versions come and
        go as `directory` says.

        Raises:
            BundleRefused: no bundle is left.
            ConfigRefused: a version that is to answer unnamed requests cannot.
        """
        settings = config.repository
        repository = ModelRepository(lanes=config.device.lanes(), pins=settings.answers)
        models = ModelsDirectory(directory, config, repository)
        models.open()
        limits = ImageLimits(
            config.max_encoded_bytes,
            config.max_image_pixels,
            max_ratio=config.max_compression_ratio,
        )
        pace = Pace(config.partial_map_interval_seconds, config.progress_interval_seconds)
        return cls(
            repository,
            limits,
            pace,
            max_explanations=config.max_explanations,
            max_rows=config.max_queued_rows,
            max_bytes=config.max_queued_bytes,
            cache_bytes=config.cache_bytes,
            max_rows_each=config.max_rows_per_request,
            failures_before_check=config.watchdog.failures_before_check,
            directory=models,
        )

    def models(self) -> tuple[ServedModel, ...]:
        """Every version that serves, by name, versions from oldest to newest."""
        return self._repository.models()

    def model(self, name: str, version: str = "") -> ServedModel:
        """The model of that name; where no version is named, the one that answers then.

        It may be retired at any time: who runs it takes a `lease`.

        Raises:
            NotFound: no such model, or no such version.
        """
        return self._repository.model(name, version)

    @contextmanager
    def lease(self, name: str, version: str, control: Control) -> Iterator[ServedModel]:
        """The model of that name, held open while the block lasts; loaded first, on demand.

        Raises:
            NotFound: no such model, or no such version.
            SalienceError: it was to be loaded first and could not be.
        """
        with ExitStack() as leases:
            yield self._leased(leases, name, version, control)

    def _leased(self, leases: ExitStack, name: str, version: str, control: Control) -> ServedModel:
        """The model, leased; brought again where another's turn took it out before that."""
        directory = self._directory
        for _ in range(_MOST_BROUGHT):
            if directory is not None:
                directory.bring(name, version, control)
            try:
                return leases.enter_context(self._repository.lease(name, version))
            except NotFound:
                if directory is None or not directory.lacks(name, version):
                    raise
        raise Overloaded(
            f"model {name} gave way to others before it could answer, {_MOST_BROUGHT} times: more "
            "are asked for than may serve at a time (repository.max_versions)"
        )

    def ready(self) -> Mapping[str, bool]:
        """Every model that is known, and whether it answers requests."""
        return self._repository.ready()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener`, which must be quick, from any thread whenever `ready` may be another.

        Returns:
            Ends that; to be called once.
        """
        return self._repository.on_change(listener)

    @property
    def directory(self) -> ModelsDirectory | None:
        """Where its models come from, where that is a directory."""
        return self._directory

    def explain(self, order: ExplainOrder, control: Control) -> Generator[Event, None, None]:
        """Explains one image; runs in the thread that iterates.

        Closing the iterator, or `control.cancel()`, drops the rows not yet run.

        Raises:
            SalienceError: from `next()`, for anything that ends the explanation.
        """
        control.check()
        try:
            with self.lease(order.model, order.version, control) as model:
                explanation = Explanation(model, order, control, self._scheduler, self._pace)
                yield from self._answered(explanation, order, control)
        finally:
            control.cancel()

    def infer(self, order: InferOrder, control: Control) -> Inferred:
        """Predicts for a batch in the calling thread; let in as one explanation is.

        `control.cancel()` drops the rows not yet run.

        Raises:
            SalienceError: for anything that ends it.
        """
        control.check()
        try:
            with self.lease(order.model, order.version, control) as model:
                inference = Inference(model, order, control, self._scheduler, self._limits)
                load = inference.load
                with self._admission.held(load), self._standing.told(model):
                    control.charge_rows(load.rows)
                    return inference.run()
        finally:
            control.cancel()

    @property
    def load(self) -> Load:
        """What the explanations that run now take."""
        return self._admission.now

    @property
    def limit(self) -> Load:
        """The most that they may take together."""
        return self._admission.most

    @property
    def cache(self) -> ExplanationCache | None:
        """The explanations kept, where any are."""
        return self._cache

    @property
    def occupancy(self) -> Occupancy:
        """What waits for the devices and runs on them now."""
        return self._scheduler.occupancy

    @property
    def workload(self) -> Workload:
        """What the devices have run so far."""
        return self._scheduler.workload

    def running(self) -> Collection[Execution]:
        """The calls that run on devices now."""
        return self._scheduler.running()

    @property
    def slowest_warm_up(self) -> float:
        """Seconds of the slowest model's."""
        return max((model.warm_up_seconds for model in self.models()), default=0.0)

    def close(self) -> None:
        """Ends the lanes; running explanations are told to come again."""
        if self._directory is not None:
            self._directory.close()
        self._scheduler.close()
        if self._directory is not None:  # Models that were given are their giver's.
            self._repository.close()

    def _answered(
        self, explanation: Explanation, order: ExplainOrder, control: Control
    ) -> Generator[Event, None, None]:
        """The answer kept from an earlier order, or that of the device."""
        cache = self._cache
        key = None if cache is None else explanation.key()
        if cache is None or key is None:
            yield from self._run(explanation, control, 0)
        elif answer := cache.find(key):
            load = Load(1, 0, answer.size + sent_bytes(order.image))
            with self._admission.held(load) as beside:
                yield from explanation.repeated(answer, beside.explanations)
        else:
            yield from cache.kept(key, self._run(explanation, control, cache.most_bytes))

    def _run(
        self, explanation: Explanation, control: Control, keeps: int
    ) -> Generator[Event, None, None]:
        """Runs it where there is room; `keeps`: bytes of an answer that is to be kept."""
        load = explanation.load(self._limits, keeps)
        with self._admission.held(load) as beside, self._standing.told(explanation.model):
            control.charge_rows(load.rows)
            yield from explanation.events(self._limits, beside.explanations)

    def _mend(self, model: ServedModel, last: bool) -> None:
        if self._directory is not None and model in self.models():
            self._directory.mend(model, last)

    def _forget(self, model: ServedModel) -> None:
        """Drops the answers of a bundle that is served no more."""
        if self._cache and all(other.digest != model.digest for other in self.models()):
            self._cache.forget(model.digest)
