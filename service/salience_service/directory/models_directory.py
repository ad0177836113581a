"""The models directory of a server: what it holds comes and goes, by policy and by hand.

All loading is done one by one in a thread of its own; what serves serves on meanwhile.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from weakref import ref

from salience_service.config import ServeConfig
from salience_service.control import Control
from salience_service.directory.following import Following
from salience_service.directory.given_back import give_back
from salience_service.directory.intake import Intake, Load
from salience_service.directory.loading import load_model
from salience_service.directory.poller import Poller
from salience_service.directory.scan import manifest_digest, place_of, scan
from salience_service.errors import (
    BundleRefused,
    Cancelled,
    ComputeFailed,
    ConfigRefused,
    NotFound,
    Overloaded,
)
from salience_service.models.model import ServedModel
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State, VersionName, VersionStatus, name_of
from salience_service.openings import opened
from salience_service.signatures.trust import trust_in

MOST_WAITING = 16
"""Versions that wait to be loaded because somebody asked."""
_HEARTBEAT_SECONDS = 0.1


class ModelsDirectory:
    """Owns what comes from a models directory into a repository. Safe from any thread.

    Args:
        path: the directory.
        config: policies, and how models are opened.
        repository: where versions go.
        load: makes a warm model of the bundle at a path; by default `load_model`.
    """

    def __init__(
        self, path: Path, config: ServeConfig, repository: ModelRepository, load: Load | None = None
    ) -> None:
        settings = config.repository
        self._path = path
        self._config = config
        self._repository = repository
        self._intake = Intake(
            repository,
            load or partial(load_model, config=config),
            settings.max_versions,
            settings.load_on_demand,
        )
        self._following = Following(path, self._intake, repository, settings)
        self._jobs = ThreadPoolExecutor(1, thread_name_prefix="salience-models")
        self._memory = ThreadPoolExecutor(1, thread_name_prefix="salience-memory")
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._poller = Poller(self.look, settings.poll_seconds)
        self._demands: dict[VersionName, Future[None]] = {}
        self._lock = threading.Lock()
        repository.on_closed(self._give_back)

    def open(self) -> None:
        """Loads what the policy wants, and watches from then on where that is configured.

        Raises:
            BundleRefused: nothing is left to serve; the message says why.
            ConfigRefused: a version that is to answer unnamed requests cannot serve.
            SalienceError: the devices did not come up.
        """
        bundles = self._config.bundles
        trust_in(bundles.key_places, bundles.unsigned == "allow")
        # A CPU comes up: where memory or threads are lacking for one version, the others serve.
        on_cpu = self._config.device.provider == "cpu"
        self._following.begin((BundleRefused, ComputeFailed) if on_cpu else (BundleRefused,))
        self._check_served()
        self._poller.start()

    def close(self) -> None:
        """Watches no more; what is being loaded is waited for, what waits for it is dropped."""
        self._poller.close()
        self._jobs.shutdown(cancel_futures=True)
        self._memory.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """Looks at the directory, now, and brings the repository to what the policy wants."""
        self._jobs.submit(self._following.look).result()

    def versions(self) -> tuple[VersionStatus, ...]:
        """All versions: those the repository knows, and what else lies in the directory."""
        known = self._repository.statuses()
        try:
            seen = scan(self._path)
        except BundleRefused:
            return known
        others = seen.places.keys() - {status.name for status in known}
        return known + tuple(VersionStatus(name, State.AVAILABLE) for name in sorted(others))

    def unmet(self) -> Iterator[str]:
        """In words, the models that have a policy and, at the last look, no version."""
        return self._following.unmet()

    def load(self, model: str, version: str) -> Future[None]:
        """Loads a version by hand, or anew what lies there now; it stays whatever the policy says.

        Whatever served before serves on until it is warm and checked, and if it is refused.

        Raises:
            InvalidRequest: not a name, or not a version.
            NotFound: no such version lies in the directory, or it was retired while it was loaded
                anew; from the future, as what follows.
            SalienceError: it is refused.
            Overloaded: too many wait to be loaded.
        """
        return self._submit(self._load, _named(model, version))

    def retire(self, model: str, version: str) -> None:
        """Retires a version by hand; it does not come back by itself.

        Raises:
            InvalidRequest: not a name, or not a version.
            NotFound: it does not serve, nor would by itself.
            NotPossible: requests were pinned to it.
        """
        name = _named(model, version)
        with self._following.held_back(name):
            self._repository.retire(name, "retired by hand")

    def roll_back(self, model: str, version: str) -> Future[None]:
        """Lets a version answer requests that name none; it is loaded where it does not serve.

        Raises:
            InvalidRequest: not a name, or not a version.
            SalienceError: it cannot be loaded (see `load`); from the future.
        """
        name = _named(model, version)
        if not self._repository.holds(name):
            return self._submit(self._load_and_pin, name)
        done: Future[None] = Future()
        self._pin(name)
        done.set_result(None)
        return done

    def roll_forward(self, model: str) -> None:
        """Lets the newest version answer requests that name none.

        Raises:
            NotFound: no version of that model serves, or waits on demand.
        """
        self._repository.unpin(model)

    def mend(self, model: ServedModel, last: bool = False) -> None:
        """Opens a version that fails on the device anew; where that is refused, takes it out.

        Args:
            model: which fails.
            last: takes it out where it cannot be opened anew, too: its device may be gone.

        Raises:
            Exception: it could not be opened, for want of memory, say; what served serves on.
        """
        name = VersionName(model.name, model.version)
        try:
            self._submit(self._load_anew, name).result()
        except NotFound:
            pass  # It was retired meanwhile.
        except Overloaded:  # Nothing was tried: too many wait, or are not gone yet.
            raise
        except BundleRefused as refusal:
            reason = f"it failed on the device, and was refused when it was opened anew: {refusal}"
            self._repository.fail(name, reason)
        except Exception:
            if not last:
                raise
            reason = "it fails on the device, and cannot be opened anew: the server's log says why"
            self._repository.fail(name, reason)

    def lacks(self, model: str, version: str) -> bool:
        """Whether the version that would answer is loaded on demand, and is not here now."""
        on_demand = self._config.repository.load_on_demand
        return on_demand and self._repository.to_load(model, version) is not None

    def bring(self, model: str, version: str, control: Control) -> None:
        """Waits until the version that would answer is loaded, where it is loaded on demand.

        Where none is named and the newest is refused, the next one answers.

        Raises:
            SalienceError: it is refused, or the caller waits no longer.
        """
        if not self._config.repository.load_on_demand:
            return
        while name := self._repository.to_load(model, version):
            try:
                self._wait_for(self._demand(name), control)
            except BundleRefused:
                if version or not self._repository.ready().get(model):
                    raise

    def _wait_for(self, job: Future[None], control: Control) -> None:
        while not job.done():
            control.check()
            wait((job,), control.remaining(_HEARTBEAT_SECONDS))
        opened(job)

    def _demand(self, name: VersionName) -> Future[None]:
        """The job that loads it: one for all who wait."""
        with self._lock:
            job = self._demands.get(name)
            if job is None or job.done():
                job = self._demands[name] = self._submit(self._load_missing, name)
            return job

    def _load(self, name: VersionName) -> None:
        path = self._path / name.model / name.version
        if not path.is_dir():
            raise NotFound(
                f"no version {name.version!r} of {name.model!r} lies in the models directory",
                field="version",
                resource=("version", f"{name.model}/{name.version}"),
            )
        self._intake.take(place_of(path))
        self._following.keep(name)

    def _load_and_pin(self, name: VersionName) -> None:
        if not self._repository.holds(name):
            self._load(name)
        self._pin(name)

    def _load_anew(self, name: VersionName) -> None:
        """The same bundle, and no other that may have taken its place."""
        if not self._repository.holds(name):
            return
        place = place_of(self._path / name.model / name.version)
        if manifest_digest(place) != self._repository.model(*name).digest:
            self._intake.refuse(place)  # Nor does a look swap it, once this one is out.
            raise BundleRefused("another bundle, or none, lies in its place now: load it by hand")
        self._intake.take(place)

    def _load_missing(self, name: VersionName) -> None:
        try:
            if self._repository.to_load(*name):  # It may have been retired meanwhile.
                self._intake.take(place_of(self._path / name.model / name.version))
        finally:  # An error that the job comes to hold is held by who waits for it alone.
            with self._lock:
                self._demands.pop(name, None)

    def _pin(self, name: VersionName) -> None:
        self._repository.pin(name)
        self._following.keep(name)

    def _submit(self, job: Callable[[VersionName], None], name: VersionName) -> Future[None]:
        if not self._room.acquire(blocking=False):
            raise Overloaded(
                f"{MOST_WAITING} versions wait to be loaded, the limit; try again later"
            )
        try:
            future = self._jobs.submit(job, name)
        except RuntimeError as closed:  # Said of a pool that takes nothing more.
            self._room.release()
            raise Cancelled("the server ended first") from closed
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _give_back(self, model: ServedModel) -> None:
        with suppress(RuntimeError):  # It is closing: the process soon gives all back.
            self._memory.submit(give_back, ref(model))

    def _check_served(self) -> None:
        for model, answers in self._config.repository.answers.items():
            name = VersionName(model, answers)
            note = self._repository.noted(name)
            waits = note is not None and note.state is State.ON_DEMAND
            if not waits and not self._repository.holds(name):
                raise ConfigRefused(
                    f"repository.answers: model {name} is to answer and cannot serve: "
                    f"{note.reason if note else 'it does not lie in the models directory'}"
                )
        if not any(self._repository.ready().values()):
            refused = [
                f"{status.name.model}/{status.name.version}: {status.reason}"
                for status in self._repository.statuses()
            ]
            misnamed = [f"{each.name}: {each.reason}" for each in self._following.seen.refused]
            raise BundleRefused(
                "; ".join(refused + misnamed) or "the models directory holds no bundle"
            )


def _named(model: str, version: str) -> VersionName:
    return VersionName(name_of("model", model), name_of("version", version))
