"""Where a bundle goes."""

from dataclasses import dataclass
from pathlib import Path

from salience_export.errors import ExportError
from salience_service.bundle.manifest import NAME


@dataclass(frozen=True)
class Destination:
    """Where a bundle goes: `models`/NAME/VERSION, which must not exist yet.

    Raises:
        ExportError: a name or version outside the alphabet of names.
    """

    models: Path
    name: str
    version: str = "1"

    def __post_init__(self) -> None:
        for what, word in (("name", self.name), ("version", self.version)):
            if not NAME.fullmatch(word):
                raise ExportError(
                    f"{what} {word!r}: use a-z, 0-9, '.', '_', '-', at most 64, "
                    "beginning with a letter or digit"
                )

    @property
    def directory(self) -> Path:
        """The bundle's directory."""
        return self.models / self.name / self.version
