"""What the admin service needs of the engine, and of the directory its models come from."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from salience_service.admission import Load
from salience_service.explanation.cache import ExplanationCache
from salience_service.models.versions import VersionStatus
from salience_service.rpc.wire.descriptions import DescribedModel
from salience_service.scheduling.workload import Occupancy, Workload


class Directory(Protocol):
    """`directory.models_directory.ModelsDirectory`."""

    def versions(self) -> tuple[VersionStatus, ...]:
        """All versions."""
        ...

    def load(self, model: str, version: str) -> Future[None]:
        """Loads a version by hand."""
        ...

    def retire(self, model: str, version: str) -> None:
        """Retires a version by hand."""
        ...

    def roll_back(self, model: str, version: str) -> Future[None]:
        """Lets a version answer requests that name none."""
        ...

    def roll_forward(self, model: str) -> None:
        """Lets the newest version answer requests that name none."""
        ...


class Administered(Protocol):
    """`engine.Engine`."""

    @property
    def directory(self) -> Directory | None:
        """Where its models come from, where that is a directory."""
        ...

    @property
    def load(self) -> Load:
        """What the explanations that run now take."""
        ...

    @property
    def limit(self) -> Load:
        """The most that they may take together."""
        ...

    @property
    def occupancy(self) -> Occupancy:
        """What waits for the devices and runs on them now."""
        ...

    @property
    def workload(self) -> Workload:
        """What the devices have run so far."""
        ...

    @property
    def cache(self) -> ExplanationCache | None:
        """The explanations kept, where any are."""
        ...

    def models(self) -> Sequence[DescribedModel]:
        """What serves."""
        ...
