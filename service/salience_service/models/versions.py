"""What is known of a version of a model: its state, and why."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from salience_service.bundle.manifest import NAME
from salience_service.errors import InvalidRequest


class VersionName(NamedTuple):
    """Which version of which model."""

    model: str
    version: str

    def __str__(self) -> str:
        return f"{self.model} {self.version}"


def name_of(what: str, word: str) -> str:
    """A caller's word for a "model" or "version", where it can be the name of one.

    Raises:
        InvalidRequest: it cannot.
    """
    if not NAME.fullmatch(word):
        raise InvalidRequest(
            f"{what} {word[:80]!r}: use a-z, 0-9, '.', '_', '-', at most 64 characters", field=what
        )
    return word


class State(Enum):
    """Where a version is on its way."""

    AVAILABLE = "available"
    """It lies in the models directory and is not held."""
    ON_DEMAND = "on demand"
    """It is loaded for the first who asks for it."""
    LOADING = "loading"
    """It is opened, warmed and checked."""
    SERVING = "serving"
    """It answers new requests."""
    DRAINING = "draining"
    """It ends what it began, and answers nothing new."""
    REFUSED = "refused"
    """It was opened and is not fit to serve."""
    FAILED = "failed"
    """It served, failed on the device, and could not be opened anew, or was refused then."""


@dataclass(frozen=True)
class VersionStatus:
    """A version and its state.

    Attributes:
        name: which version of which model.
        state: where it is on its way.
        reason: why it was refused or is not held; of one that serves, what is amiss.
        digest: SHA-256 of its manifest in hex, where it is held.
        leases: explanations that it is answering.
        answers_unnamed: whether it answers requests that name no version.
        pinned: whether it does so because somebody said so, not for being the newest.
    """

    name: VersionName
    state: State
    reason: str = ""
    digest: str = ""
    leases: int = 0
    answers_unnamed: bool = False
    pinned: bool = False
