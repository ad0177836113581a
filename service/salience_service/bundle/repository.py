"""The models directory: which bundles lie in it as NAME/VERSION, and which were refused."""

import re
from dataclasses import dataclass
from pathlib import Path

from salience_service.bundle.manifest import NAME
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.errors import BundleRefused
from salience_service.signatures.trust import ANYONE, Trust

_NUMBER = re.compile(r"([0-9]+)")
_VersionKey = tuple[tuple[bool, int, str], ...]


@dataclass(frozen=True)
class RefusedBundle:
    """A directory that is no good bundle: "NAME/VERSION" (or "NAME") and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What a models directory holds: bundles by name, oldest version first, and the refused."""

    accepted: tuple[Bundle, ...]
    refused: tuple[RefusedBundle, ...]


@dataclass(frozen=True)
class Places:
    """Where bundles may lie: directories whose names may be a bundle's, and the others."""

    accepted: tuple[Path, ...]
    refused: tuple[RefusedBundle, ...]


def find_bundles(models: Path, trust: Trust = ANYONE) -> Found:
    """Every bundle NAME/VERSION under `models`; a refused one hides no other.

    Plain files and entries whose names start with a dot are passed over.

    Args:
        models: the directory.
        trust: who may have signed them; by default anyone, or nobody.

    Raises:
        BundleRefused: `models` is not a directory that can be read.
    """
    places = find_places(models)
    accepted: list[Bundle] = []
    refused = list(places.refused)
    for place in places.accepted:
        try:
            accepted.append(open_place(place, trust))
        except BundleRefused as fault:
            refused.append(RefusedBundle(f"{place.parent.name}/{place.name}", str(fault)))
    return Found(tuple(sorted(accepted, key=_order)), tuple(refused))


def find_places(models: Path) -> Places:
    """Every directory NAME/VERSION under `models`; nothing in them is looked at.

    Raises:
        BundleRefused: `models` is not a directory that can be read.
    """
    accepted: list[Path] = []
    refused: list[RefusedBundle] = []
    for name in _directories(models, "the models directory"):
        try:
            _check_name(name)
            versions = _directories(name, "the model's directory")
        except BundleRefused as fault:
            refused.append(RefusedBundle(name.name, str(fault)))
            continue
        for version in versions:
            try:
                _check_name(version)
                accepted.append(version)
            except BundleRefused as fault:
                refused.append(RefusedBundle(f"{name.name}/{version.name}", str(fault)))
    return Places(tuple(accepted), tuple(refused))


def version_key(version: str) -> _VersionKey:
    """Orders versions as people do: numbers as numbers, so that 1.10 follows 1.9."""
    parts = [part for part in _NUMBER.split(version) if part]
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def open_place(directory: Path, trust: Trust = ANYONE) -> Bundle:
    """The bundle in a directory NAME/VERSION.

    Raises:
        BundleRefused: as `open_bundle`; or its manifest has another name or version.
    """
    bundle = open_bundle(directory, trust)
    manifest = bundle.manifest
    place = (directory.parent.name, directory.name)
    if (manifest.name, manifest.version) != place:
        raise BundleRefused(
            f"its manifest says {manifest.name}/{manifest.version}, its place "
            f"{place[0]}/{place[1]}: move it or export it again"
        )
    return bundle


def _directories(parent: Path, what: str) -> list[Path]:
    try:
        entries = sorted(parent.iterdir())
    except OSError as fault:
        raise BundleRefused(f"{what} cannot be read: {fault.strerror}") from fault
    return [entry for entry in entries if not entry.name.startswith(".") and _may_be_one(entry)]


def _may_be_one(entry: Path) -> bool:
    """Whether it is a directory; or cannot be looked at, and is refused by name and hides none."""
    try:
        return entry.is_dir()
    except OSError:  # A link to where this user may not look, or that leads nowhere it could.
        return True


def _check_name(directory: Path) -> None:
    if not NAME.fullmatch(directory.name):
        raise BundleRefused(
            f"{directory.name!r} is not a name: use a-z, 0-9, '.', '_', '-', at most 64"
        )


def _order(bundle: Bundle) -> tuple[str, _VersionKey]:
    return bundle.manifest.name, version_key(bundle.manifest.version)
