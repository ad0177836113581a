"""Following the models directory: what the policy wants of it serves, what is gone does not."""

import logging
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from salience_service.config.repository import RepositoryConfig
from salience_service.directory.intake import Intake
from salience_service.directory.policy import VersionPolicy
from salience_service.directory.scan import NOTHING, Place, Scan, manifest_digest, scan
from salience_service.errors import BundleRefused, NotPossible, Overloaded, SalienceError
from salience_service.models.repository import ModelRepository
from salience_service.models.version_book import Note
from salience_service.models.versions import State, VersionName

CHANGED = "the bundle on disk is another now: load the version again to serve it"
_log = logging.getLogger(__name__)


class Following:
    """Brings the repository to what the policy wants. `begin` and `look` are for one thread.

    What somebody said by hand goes before the policy: a version loaded by hand stays, one
    retired by hand does not come back by itself.

    Args:
        path: the models directory.
        intake: loads versions into the repository.
        repository: which versions are held.
        settings: policies.
    """

    def __init__(
        self, path: Path, intake: Intake, repository: ModelRepository, settings: RepositoryConfig
    ) -> None:
        self._path = path
        self._intake = intake
        self._repository = repository
        self._on_demand = settings.load_on_demand
        self._answers = settings.answers
        self._policy = VersionPolicy.read(settings.policy)
        self._policies = {
            name: VersionPolicy.read(policy) for name, policy in settings.policies.items()
        }
        self._lock = threading.Lock()
        self._kept: set[VersionName] = set()
        self._held_back: set[VersionName] = set()
        self.seen: Scan = NOTHING

    def keep(self, name: VersionName) -> None:
        """A version was loaded by hand: it stays."""
        with self._lock:
            self._kept.add(name)
            self._held_back.discard(name)

    @contextmanager
    def held_back(self, name: VersionName) -> Iterator[None]:
        """A version is retired by hand in the block: it does not come back by itself, now or then.

        Where the block fails all is as before.
        """
        with self._lock:
            kept, held_back = name in self._kept, name in self._held_back
            self._kept.discard(name)
            self._held_back.add(name)
        try:
            yield
        except BaseException:
            with self._lock:
                self._kept |= {name} if kept else set()
                self._held_back -= set() if held_back else {name}
            raise

    def begin(self, passing: tuple[type[SalienceError], ...]) -> None:
        """Loads what the policy wants; a version that is refused hides no other.

        Args:
            passing: errors that refuse a version; any other ends it all.

        Raises:
            BundleRefused: the directory cannot be read.
            SalienceError: the devices did not come up.
        """
        found = scan(self._path)
        self._tell_refused(found)
        self.seen = found
        for missed in self.unmet():
            _log.warning("repository.policies: %s", missed)
        self._follow(self.seen.places, passing)

    def unmet(self) -> Iterator[str]:
        """In words, the models that have a policy and of which no version lies there.

        None where nothing was seen: whoever looked knows that the directory cannot be read.
        """
        if self.seen is NOTHING:
            return
        models = {name.model for name in self.seen.places}
        models |= {refused.name for refused in self.seen.refused}
        for model in self._policies:
            if model not in models:
                yield f"no version of {model!r} lies in the models directory: is its name right?"

    def look(self) -> None:
        """Looks at the directory again. A directory without a single version changes nothing.

        What cannot be looked at stays as it is: its disk may be back at the next look. A version is
        loaded once two looks have found its files alike: what is being copied is left alone.
        """
        before, self.seen = self.seen, self._scanned()
        if self.seen is before:
            return
        settled = {
            name: place
            for name, place in self.seen.places.items()
            if name in before.places and before.places[name].fingerprint == place.fingerprint
        }
        self._drop_gone()
        self._tell_changes(settled)
        self._follow(settled, (Exception,))
        self._retire_unwanted(settled)

    def _scanned(self) -> Scan:
        try:
            found = scan(self._path)
        except BundleRefused as fault:
            _log.warning("nothing was changed: %s", fault)
            return self.seen
        if not found.places and self.seen.places:
            # More often a volume that is not mounted than a wish.
            _log.warning("nothing was changed: the models directory holds no version any more")
            return self.seen
        self._tell_refused(found)
        return found

    def _tell_refused(self, found: Scan) -> None:
        """Logs what is refused unread, and was not at the last look."""
        for refused in found.refused:
            if refused not in self.seen.refused:
                _log.error("refused: %s: %s", refused.name, refused.reason)

    def _follow(
        self, places: Mapping[VersionName, Place], passing: tuple[type[Exception], ...]
    ) -> None:
        """Loads what is wanted and missing; errors of the kinds `passing` end nothing."""
        while missing := [name for name in self._wanted(places) if self._misses(name, places)]:
            try:
                self._bring(places[missing[0]])
            except Overloaded as full:
                self._note_once(missing[0], State.AVAILABLE, str(full))
                return
            except passing:
                continue  # It is noted why, and it is not wanted any more.

    def _bring(self, place: Place) -> None:
        if self._on_demand:
            self._repository.note(place.name, State.ON_DEMAND)
        else:
            self._intake.take(place)

    def _misses(self, name: VersionName, places: Collection[VersionName]) -> bool:
        if name not in places or self._repository.holds(name):
            return False
        note = self._repository.noted(name)
        return not (self._on_demand and note and note.state is State.ON_DEMAND)

    def _wanted(self, places: Collection[VersionName]) -> list[VersionName]:
        """What the policy wants of what serves, or is among `places` and not refused.

        The newest first. A version that is being copied takes no other's place before it is whole.
        """
        with self._lock:
            held_back = set(self._held_back)
        versions: dict[str, list[str]] = defaultdict(list)
        for name, place in self.seen.places.items():
            fit = name in places and not self._intake.was_refused(place)
            if (fit or self._repository.holds(name)) and name not in held_back:
                versions[name.model].append(name.version)
        wanted = []
        for model, known in versions.items():
            chosen = self._policies.get(model, self._policy).chosen(known)
            if (answer := self._answers.get(model, "")) in known and answer not in chosen:
                chosen = (*chosen, answer)
            wanted += [VersionName(model, version) for version in chosen]
        return wanted

    def _drop_gone(self) -> None:
        """Retires what lies there no more, and drops what was known of it."""
        for status in self._repository.statuses():
            name = status.name
            if self.seen.may_hold(name) or status.state in (State.DRAINING, State.LOADING):
                continue
            if status.state is not State.SERVING:
                self._repository.forget(name)
            elif not self._retired(name, "its directory is gone"):
                continue
            self._intake.forget(name)
        with self._lock:
            self._kept = set(filter(self.seen.may_hold, self._kept))
            self._held_back = set(filter(self.seen.may_hold, self._held_back))

    def _tell_changes(self, settled: Mapping[VersionName, Place]) -> None:
        """Says which bundles have changed under what serves; nothing is swapped in silence."""
        for model in self._repository.models():
            place = settled.get(VersionName(model.name, model.version))
            if place is None or self._intake.was_taken(place):
                continue
            self._intake.seen(place)
            if manifest_digest(place) != model.digest:
                self._note_once(place.name, State.SERVING, CHANGED)
            else:
                self._repository.forget(place.name)

    def _retire_unwanted(self, settled: Collection[VersionName]) -> None:
        """What the policy chose before and does not now: its place is taken by a newer one."""
        wanted = set(self._wanted(settled))
        with self._lock:
            wanted |= self._kept
        for status in self._repository.statuses():
            name, here = status.name, status.state in (State.SERVING, State.ON_DEMAND)
            pinned = self._repository.is_pinned(name)
            if here and name in settled and name not in wanted and not pinned:
                self._retired(name, "the policy does not want it any more")

    def _retired(self, name: VersionName, why: str) -> bool:
        try:
            self._repository.retire(name)
        except NotPossible:
            self._note_once(name, State.SERVING, f"{why}, and requests are pinned to it")
            return False
        _log.info("model %s retired: %s", name, why)
        return True

    def _note_once(self, name: VersionName, state: State, reason: str) -> None:
        if self._repository.noted(name) != Note(state, reason):
            _log.warning("model %s: %s", name, reason)
            self._repository.note(name, state, reason)
