"""The model repository: which versions serve, which answers where none is named, who uses them.

It knows no disk and loads nothing: `directory/` brings it versions that are warm and checked.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from salience_service.errors import ConfigRefused, NotPossible, SalienceError
from salience_service.models.model import ServedModel
from salience_service.models.version_book import Held, Note, VersionBook, order
from salience_service.models.versions import State, VersionName, VersionStatus
from salience_service.runtime.device import Lane


class ModelRepository:
    """Owns the versions that are in memory. Safe from any thread.

    A version that is retired, or replaced by another of its name, answers nothing new; it is
    closed when the last lease on it ends. Listeners are called outside of the lock, by
    whichever thread made the change, and must be quick.

    Args:
        models: that serve from the beginning.
        lanes: of the devices that all models share; none: those of the first model.
        pins: the version that answers requests that name none, by model; where none is said
            the newest does.
    """

    def __init__(
        self,
        models: Iterable[ServedModel] = (),
        lanes: Sequence[Lane] = (),
        pins: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._lock = threading.Lock()
        self._book = VersionBook(pins)
        self._listeners: list[Callable[[], None]] = []
        self._closers: list[Callable[[ServedModel], None]] = []
        self.lanes = tuple(lanes)
        for model in models:
            self.serve(model)
        self.lanes = self.lanes or (Lane(),)

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` after every change of what serves, or of what is known.

        Returns:
            Ends that; to be called once.
        """
        with self._lock:
            self._listeners = [*self._listeners, listener]
        return lambda: self._no_more(listener)

    def on_closed(self, closer: Callable[[ServedModel], None]) -> None:
        """Calls `closer` with each version that was given up, after its last lease."""
        self._closers.append(closer)

    def models(self) -> tuple[ServedModel, ...]:
        """What serves: by name, versions from oldest to newest."""
        with self._lock:
            serving = self._book.serving
            return tuple(serving[name].model for name in sorted(serving, key=order))

    def model(self, name: str, version: str = "") -> ServedModel:
        """The model of that name, without a lease: it may be retired at any time.

        Raises:
            NotFound: no such model, or no such version, serves.
            Unavailable: it failed on the device.
        """
        with self._lock:
            return self._book.find(name, version).model

    @contextmanager
    def lease(self, name: str, version: str = "") -> Iterator[ServedModel]:
        """The model of that name, held open while the block lasts.

        Raises:
            NotFound: no such model, or no such version, serves.
            Unavailable: it failed on the device.
        """
        with self._lock:
            held = self._book.find(name, version)
            held.leases += 1
        try:
            yield held.model
        finally:
            self._end_lease(held)

    def serve(self, model: ServedModel, in_place: bool = False) -> None:
        """Lets a warm model answer from now on; one of its name and version before it drains.

        Args:
            model: the model.
            in_place: only where one of its name and version serves: it may have been retired
                while this one was loaded.

        Raises:
            ConfigRefused: it lies on other devices than the others.
            NotFound: `in_place`, and none does.
            Unavailable: `in_place`, and it failed on the device.
        """
        held = Held(model, used=time.monotonic())
        with self._lock:
            self.lanes = self.lanes or model.device.lanes()
            if model.device.lanes() != self.lanes:
                raise ConfigRefused(
                    "the models of an engine share its devices: open them on the same"
                )
            if in_place:
                self._book.find(*held.name)
            idle = self._taken_out(held.name)
            self._book.serving[held.name] = held
            self._book.failed.discard(held.name)
        self._changed(idle)

    def retire(self, name: VersionName, reason: str = "", state: State = State.AVAILABLE) -> None:
        """Takes a version out: it answers nothing new, and drains.

        One that failed, or waits to be loaded on demand, does so no more.

        Args:
            name: which.
            reason: why, for whoever lists versions; empty: it is not listed any more.
            state: as which it is listed.

        Raises:
            NotFound: it does not serve, nor would by itself.
            NotPossible: it is the one that unnamed requests were pinned to.
        """
        with self._lock:
            if not self._book.may_come_back(name):
                self._book.find(*name)
            if self._book.is_pinned(name):
                raise NotPossible(
                    f"model {name} answers requests that name no version, because somebody said "
                    "so: roll back to another version, or to the newest, first"
                )
            idle = self._taken_out(name)
            self._book.failed.discard(name)
            if reason:
                self._book.notes[name] = Note(state, reason)
        self._changed(idle)

    def fail(self, name: VersionName, reason: str) -> None:
        """Takes out a version that fails on the device, also one that requests were pinned to.

        Who asks for it is told to come again, until it serves again or another one may answer.
        One that was retired meanwhile stays so.
        """
        with self._lock:
            if name not in self._book.serving:
                return
            idle = self._taken_out(name)
            self._book.notes[name] = Note(State.FAILED, reason)
            self._book.failed.add(name)
        self._changed(idle)

    def pin(self, name: VersionName) -> None:
        """Lets this version answer requests that name none, until another is said to.

        Raises:
            NotFound: it does not serve.
        """
        with self._lock:
            self._book.find(*name)
            self._book.pins[name.model] = name.version
        self._changed()

    def unpin(self, model: str) -> None:
        """Lets the newest version answer requests that name none.

        Raises:
            NotFound: no version of that model serves, or waits on demand; then nothing changes.
            Unavailable: the newest failed on the device; likewise.
        """
        with self._lock:
            pinned = self._book.pins.pop(model, None)
            try:
                if not self._book.is_ready(model):
                    self._book.find(model, "")
            except SalienceError:
                if pinned is not None:
                    self._book.pins[model] = pinned
                raise
        self._changed()

    def note(self, name: VersionName, state: State, reason: str = "") -> None:
        """Keeps what is known of a version that does not serve, or is amiss with one that does."""
        with self._lock:
            self._book.notes[name] = Note(state, reason)
        self._changed()

    def forget(self, name: VersionName) -> None:
        """Drops what is known of a version."""
        with self._lock:
            self._book.failed.discard(name)
            self._book.notes.pop(name, None)
        self._changed()

    def statuses(self) -> tuple[VersionStatus, ...]:
        """All that is known, by name, versions from oldest to newest."""
        with self._lock:
            return self._book.statuses()

    def ready(self) -> Mapping[str, bool]:
        """Every model that is known, and whether it answers a request that names no version."""
        with self._lock:
            return self._book.ready()

    def holds(self, name: VersionName) -> bool:
        """Whether it serves."""
        with self._lock:
            return name in self._book.serving

    def is_pinned(self, name: VersionName) -> bool:
        """Whether it was said to answer requests that name no version."""
        with self._lock:
            return self._book.is_pinned(name)

    def noted(self, name: VersionName) -> Note | None:
        """What was noted of a version."""
        with self._lock:
            return self._book.notes.get(name)

    def to_load(self, model: str, version: str = "") -> VersionName | None:
        """The version that would answer, where it is first to be loaded; else None."""
        with self._lock:
            return self._book.to_load(model, version)

    @property
    def counts(self) -> tuple[int, int]:
        """Versions that serve, and that drain."""
        with self._lock:
            return len(self._book.serving), len(self._book.draining)

    def longest_unused(self) -> VersionName | None:
        """Of the versions nobody uses now and nobody is pinned to, the one used longest ago."""
        with self._lock:
            return self._book.longest_unused()

    def close(self) -> None:
        """Takes every version out."""
        with self._lock:
            idle = [held for name in [*self._book.serving] for held in self._taken_out(name)]
        self._changed(idle)

    def _taken_out(self, name: VersionName) -> list[Held]:
        """Takes it out, with what was noted of it; what of it can be closed at once."""
        held = self._book.serving.pop(name, None)
        self._book.notes.pop(name, None)
        if held is None or not held.leases:
            return [held] if held else []
        self._book.draining.append(held)
        return []

    def _end_lease(self, held: Held) -> None:
        with self._lock:
            held.leases -= 1
            held.used = time.monotonic()
            ended = held in self._book.draining and not held.leases
            if ended:
                self._book.draining.remove(held)
        if ended:
            self._changed([held])

    def _changed(self, idle: Iterable[Held] = ()) -> None:
        """Closes what nobody uses any more, and tells of the change; outside of the lock."""
        for held in idle:
            held.model.close()
            for closer in self._closers:
                closer(held.model)
        for listener in self._listeners:
            listener()

    def _no_more(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners = [each for each in self._listeners if each is not listener]
