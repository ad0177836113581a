"""Which bundles a server takes: those signed by whom it trusts, or others too."""

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from salience_service.config.section import Section


class BundlesConfig(Section):
    """The table `[bundles]`."""

    trusted_keys: tuple[str, ...] = ()
    """Public Ed25519 keys (PEM) that may sign bundles: files, or directories of files *.pub and
    *.pem, at most 256 keys in all. Read at the start, and anew for every bundle that is loaded."""

    unsigned: Literal["refuse", "allow"] = "refuse"
    """What becomes of a bundle that no trusted key has signed. A bundle whose signature by a
    trusted key is wrong is refused whatever this says."""

    @property
    def key_places(self) -> tuple[Path, ...]:
        """The files and directories of `trusted_keys`."""
        return tuple(map(Path, self.trusted_keys))

    @field_validator("trusted_keys", mode="before")
    @classmethod
    def _listed(cls, keys: object) -> object:
        """TOML has lists where this class, being frozen, has tuples."""
        return tuple(keys) if isinstance(keys, list) else keys


UNSIGNED_ALLOWED = BundlesConfig(unsigned="allow")
"""For one's own bundles in one's own process."""
