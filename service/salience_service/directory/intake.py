"""The intake: a version from its place into the repository, or the reason why it is refused."""

import logging
from collections.abc import Callable
from pathlib import Path

from salience_service.directory.scan import Fingerprint, Place
from salience_service.errors import (
    BundleRefused,
    NotFound,
    NotPossible,
    Overloaded,
    SalienceError,
)
from salience_service.models.model import ServedModel
from salience_service.models.repository import ModelRepository
from salience_service.models.versions import State, VersionName

Load = Callable[[Path], ServedModel]
"""Makes a warm and checked model of the bundle at a path; a SalienceError where it cannot."""

_log = logging.getLogger(__name__)


class Intake:
    """Knows what was loaded and refused as it lay on disk. For one thread at a time.

    Args:
        repository: where versions go.
        load: makes them.
        most: versions that serve at a time, and that may drain.
        gives_way: whether the one used longest ago goes where there is no room.
    """

    def __init__(
        self, repository: ModelRepository, load: Load, most: int, gives_way: bool = False
    ) -> None:
        self._repository = repository
        self._load = load
        self._most = most
        self._gives_way = gives_way
        self._taken: dict[VersionName, Fingerprint] = {}
        self._refused: dict[VersionName, Fingerprint] = {}

    def take(self, place: Place) -> None:
        """Lets the version at a place serve; if it serves already, what lies there now.

        While it is loaded, and where it is refused, whatever served before serves on.

        Raises:
            Overloaded: as many versions as may be are held.
            NotFound: it served, and was retired while it was loaded anew.
            SalienceError: it is refused; the repository knows why.
        """
        self._make_room(place.name)
        held = self._repository.holds(place.name)
        waited = self._repository.to_load(*place.name) is not None
        if not held:
            self._repository.note(place.name, State.LOADING)
        try:
            self._serve(place, held)
        except Exception as error:
            if held == self._repository.holds(place.name):
                self._not_taken(place, held, waited, error)
            else:
                _log.warning("retired while it was loaded anew: %s", place.name, exc_info=error)
            raise

    def refuse(self, place: Place) -> None:
        """Says that what lies there now is not to serve by itself."""
        self._refused[place.name] = place.fingerprint

    def was_refused(self, place: Place) -> bool:
        """Whether it was, as it lies there."""
        return self._refused.get(place.name) == place.fingerprint

    def was_taken(self, place: Place) -> bool:
        """Whether it was, as it lies there."""
        return self._taken.get(place.name) == place.fingerprint

    def seen(self, place: Place) -> None:
        """Says that what lies there now was compared with what serves."""
        self._taken[place.name] = place.fingerprint

    def forget(self, name: VersionName) -> None:
        """Drops what is known of a version that lies there no more."""
        self._taken.pop(name, None)
        self._refused.pop(name, None)

    def _make_room(self, name: VersionName) -> None:
        serving, draining = self._repository.counts
        if draining >= self._most:
            raise Overloaded(
                f"{draining} retired versions still end what they began, the limit "
                "(repository.max_versions): try again when one has"
            )
        if serving < self._most or self._repository.holds(name):
            return
        unused = self._repository.longest_unused() if self._gives_way else None
        if unused is None:
            raise Overloaded(
                f"{serving} versions serve, the limit (repository.max_versions): retire one first"
            )
        try:
            self._repository.retire(unused, f"gave way to {name}", State.ON_DEMAND)
        except (NotFound, NotPossible):  # In words about a model that who asks may not know of.
            raise Overloaded("another version just gave way or was pinned: try again") from None

    def _serve(self, place: Place, held: bool) -> None:
        model = self._load(place.path)
        try:
            self._repository.serve(model, in_place=held)
        except BaseException:
            model.close()
            raise
        self._taken[place.name] = place.fingerprint
        self._refused.pop(place.name, None)
        _log.info("model %s serves", place.name)

    def _not_taken(self, place: Place, held: bool, waited: bool, error: Exception) -> None:
        passes = not isinstance(error, BundleRefused)  # Want of memory does.
        if not (passes and (held or waited)):
            self.refuse(place)
        if isinstance(error, SalienceError):
            reason = str(error)
            _log.error("refused: %s: %s", place.name, reason, exc_info=error.__cause__)
        else:
            reason = "it could not be loaded; the server's log says why"
            _log.error("refused: %s", place.name, exc_info=error)
        if held:
            self._repository.note(place.name, State.SERVING, f"not loaded anew: {reason}")
        else:  # On demand the next who asks has it tried again.
            state = State.ON_DEMAND if passes and waited else State.REFUSED
            self._repository.note(place.name, state, reason)
