"""The book of versions: which are held, what is noted of others, and which answers."""

from collections.abc import Mapping
from dataclasses import dataclass

from salience_service.bundle.repository import version_key
from salience_service.errors import NotFound
from salience_service.life.farewell import broken
from salience_service.models.model import ServedModel
from salience_service.models.versions import State, VersionName, VersionStatus


@dataclass(eq=False)
class Held:
    """A version in memory.

    Attributes:
        model: it. leases: who uses it now. used: when the last of them ended, `time.monotonic()`.
    """

    model: ServedModel
    leases: int = 0
    used: float = 0.0

    @property
    def name(self) -> VersionName:
        """Which version of which model."""
        return VersionName(self.model.name, self.model.version)


@dataclass(frozen=True)
class Note:
    """Of a version that does not serve: its state and why; of one that does: what is amiss."""

    state: State
    reason: str = ""


class VersionBook:
    """Answers questions about what is written in it; its owner writes, and guards it by a lock.

    Attributes:
        serving: what answers new requests. draining: what ends what it began.
        notes: of versions on disk, and of what is amiss with those that serve.
        failed: on the device, and do not serve since, whatever is noted of them.
        pins: the version that was said to answer requests that name none, by model.
    """

    def __init__(self, pins: Mapping[str, str]) -> None:
        self.serving: dict[VersionName, Held] = {}
        self.draining: list[Held] = []
        self.notes: dict[VersionName, Note] = {}
        self.failed: set[VersionName] = set()
        self.pins = dict(pins)

    def find(self, model: str, version: str) -> Held:
        """The one that answers.

        Raises:
            NotFound: no such model, or no such version, serves.
            Unavailable: it failed on the device.
        """
        wanted = VersionName(model, version) if version else self.answering(model)
        if wanted in self.serving:
            return self.serving[wanted]
        if any(each.model == model and version in ("", each.version) for each in self.failed):
            raise broken(str(wanted).strip())
        raise self._not_found(wanted)

    def answering(self, model: str) -> VersionName:
        """The version that answers where none is named; it may not serve."""
        if model in self.pins:
            return VersionName(model, self.pins[model])
        return max(self._serving_of(model), key=order, default=VersionName(model, ""))

    def is_pinned(self, name: VersionName) -> bool:
        """Whether it was said to answer requests that name no version."""
        return self.pins.get(name.model) == name.version

    def to_load(self, model: str, version: str) -> VersionName | None:
        """The version that would answer, where it is first to be loaded; else None."""
        waiting = self._noted(model, State.ON_DEMAND)
        loading = self._noted(model, State.LOADING)
        serving = self._serving_of(model)
        if version := version or self.pins.get(model, ""):
            wanted: VersionName | None = VersionName(model, version)
        else:  # What is being loaded answers once it is good, where another can meanwhile.
            wanted = max(waiting | (serving or loading), key=order, default=None)
        return wanted if wanted in (waiting | loading) - serving else None

    def may_come_back(self, name: VersionName) -> bool:
        """Whether it does not serve, and would again by itself: it failed, or is on demand."""
        state = self.notes[name].state if name in self.notes else None
        return state is State.ON_DEMAND or (name in self.failed and state is not State.LOADING)

    def longest_unused(self) -> VersionName | None:
        """Of the versions nobody uses now and nobody is pinned to, the one used longest ago."""
        idle = (
            held
            for held in self.serving.values()
            if not held.leases and not self.is_pinned(held.name)
        )
        found = min(idle, key=lambda held: held.used, default=None)
        return None if found is None else found.name

    def ready(self) -> dict[str, bool]:
        """Every model that is known, and whether it answers a request that names no version."""
        names = {name.model for name in (*self.serving, *self.notes)}
        return {name: self.is_ready(name) for name in sorted(names)}

    def is_ready(self, model: str) -> bool:
        """Whether it answers a request that names no version, if only on demand."""
        answer, waiting = self.answering(model), self._noted(model, State.ON_DEMAND)
        if model in self.pins:
            waiting &= {answer}
        return answer in self.serving or bool(waiting)

    def statuses(self) -> tuple[VersionStatus, ...]:
        """All that is known, by name, versions from oldest to newest."""
        found = [self._status(held) for held in self.serving.values()]
        found += [
            VersionStatus(held.name, State.DRAINING, "", held.model.digest, held.leases)
            for held in self.draining
        ]
        told = {status.name for status in found}
        found += [
            VersionStatus(name, note.state, note.reason)
            for name, note in self.notes.items()
            if name not in told
        ]
        return tuple(sorted(found, key=lambda status: order(status.name)))

    def _status(self, held: Held) -> VersionStatus:
        name, note = held.name, self.notes.get(held.name)
        return VersionStatus(
            name,
            State.SERVING,
            note.reason if note else "",
            held.model.digest,
            held.leases,
            self.answering(name.model) == name,
            self.is_pinned(name),
        )

    def _serving_of(self, model: str) -> set[VersionName]:
        return {name for name in self.serving if name.model == model}

    def _noted(self, model: str, state: State) -> set[VersionName]:
        return {
            name for name, note in self.notes.items() if name.model == model and note.state is state
        }

    def _not_found(self, wanted: VersionName) -> NotFound:
        known = sorted(self._serving_of(wanted.model), key=order)
        if not known:
            return NotFound(
                # Names of others stay out: they may be hidden from this caller.
                f"no model {wanted.model!r} here: ListModels tells those there are",
                field="model",
                resource=("model", wanted.model),
            )
        versions = ", ".join(each.version for each in known)
        return NotFound(
            f"model {wanted.model} has no version {wanted.version!r}; served are: {versions}",
            field="version",
            resource=("version", f"{wanted.model}/{wanted.version}"),
        )


def order(name: VersionName) -> tuple[str, object]:
    """By name, versions from oldest to newest."""
    return name.model, version_key(name.version)
