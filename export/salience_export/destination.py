"""Where a bundle goes."""

from dataclasses import dataclass
from pathlib import Path

from salience_export.errors import ExportError
from salience_service.bundle.manifest import NAME, TUNE_FILE_SUFFIX


@dataclass(frozen=True)
class Destination:
    """Where a bundle goes: `models`/NAME/VERSION, which must not exist yet.

    Raises:
        ExportError: a name or version outside the alphabet of names, or a version that ends as
            tune files do.
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
        if self.version.endswith(TUNE_FILE_SUFFIX):
            raise ExportError(f"version {self.version!r} ends as tune files do: name it anew")

    @property
    def directory(self) -> Path:
        """The bundle's directory."""
        return self.models / self.name / self.version
