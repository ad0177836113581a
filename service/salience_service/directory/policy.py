"""Which of a model's versions are to serve."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from salience_service.bundle.repository import version_key


@dataclass(frozen=True)
class VersionPolicy:
    """Chooses versions of one model.

    Attributes:
        latest: how many of the newest; 0 = all.
        named: these and no others; None: any.
    """

    latest: int = 0
    named: tuple[str, ...] | None = None

    @classmethod
    def read(cls, words: str | Sequence[str]) -> "VersionPolicy":
        """The policy as the configuration says it: "all", "latest N", or versions."""
        if not isinstance(words, str):
            return cls(named=tuple(words))
        return cls() if words == "all" else cls(latest=int(words.removeprefix("latest ")))

    def chosen(self, versions: Iterable[str]) -> tuple[str, ...]:
        """Those of the versions that are to serve, the newest first."""
        ordered = sorted(versions, key=version_key, reverse=True)
        if self.named is not None:
            return tuple(version for version in ordered if version in self.named)
        return tuple(ordered[: self.latest] if self.latest else ordered)
