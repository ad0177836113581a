"""One look at the models directory: which versions lie there, and whether they have changed."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from salience_service.bundle.reader import manifest_text
from salience_service.bundle.repository import RefusedBundle, find_places
from salience_service.errors import BundleRefused
from salience_service.models.versions import VersionName

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Name, bytes, time of change and number of each file: equal while nobody writes to them."""
_MOST_FILES = 1024
"""That are looked at; a bundle of a hundred taps has a hundred and ten."""


@dataclass(frozen=True)
class Place:
    """A directory that may hold a version.

    Attributes:
        name: the version it is the place of.
        path: where it is.
        fingerprint: of its files at the time.
    """

    name: VersionName
    path: Path
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Scan:
    """What was seen.

    Attributes:
        places: directories of versions, by their names.
        refused: directories whose names are not a bundle's, or that could not be looked at.
    """

    places: Mapping[VersionName, Place]
    refused: tuple[RefusedBundle, ...]

    def may_hold(self, name: VersionName) -> bool:
        """Whether a version lies there; or may, where its model's directory was not to be read."""
        return name in self.places or any(each.name == name.model for each in self.refused)


NOTHING = Scan({}, ())


def scan(models: Path) -> Scan:
    """Looks at the directory; no file in it is opened.

    Raises:
        BundleRefused: it is not a directory that can be read.
    """
    found = find_places(models)
    places = [place_of(path) for path in found.accepted]
    return Scan({place.name: place for place in places}, found.refused)


def place_of(path: Path) -> Place:
    """The place NAME/VERSION at a path."""
    return Place(VersionName(path.parent.name, path.name), path, _fingerprint(path))


def manifest_digest(place: Place) -> str:
    """SHA-256 in hex of the manifest that lies there now; empty where none can be read."""
    try:
        return hashlib.sha256(manifest_text(place.path)).hexdigest()
    except BundleRefused:
        return ""


def _fingerprint(directory: Path) -> Fingerprint:
    """Empty for a directory that cannot be read, or is gone."""
    try:
        with os.scandir(directory) as entries:
            files = [
                (each.name, each.stat(follow_symlinks=False))
                for each in islice(entries, _MOST_FILES)
            ]
    except OSError:
        return ()
    return tuple(
        sorted(
            (name, found.st_size, found.st_mtime_ns, found.st_ino)
            for name, found in files
            if stat.S_ISREG(found.st_mode)
        )
    )
