"""`[repository]`: which versions of the models directory serve, and how they come and go."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from salience_service.bundle.manifest import NAME
from salience_service.config.section import Section

_LATEST = re.compile(r"latest [1-9][0-9]{0,3}")


def _listed(policy: object) -> object:
    """TOML has lists where this class, being frozen, has tuples."""
    return tuple(policy) if isinstance(policy, list) else policy


def _known(policy: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(policy, str):
        if policy != "all" and not _LATEST.fullmatch(policy):
            raise ValueError("'all', 'latest 2' (any number from 1), or a list of versions")
    elif not policy:
        raise ValueError("give at least 1; what is not to serve is kept in another directory")
    elif not all(NAME.fullmatch(version) for version in policy):
        raise ValueError("a list of versions, each of a-z, 0-9, '.', '_', '-', at most 64")
    return policy


Policy = Annotated[str | tuple[str, ...], BeforeValidator(_listed), AfterValidator(_known)]
"""Which versions of a model serve: "all", "latest 2" (any number from 1), or a list of versions."""


class RepositoryConfig(Section):
    """Which versions serve."""

    policy: Policy = "all"
    """Which versions of a model serve: "all", "latest 2" (any number from 1; a version that is
    refused does not count), or a list of versions."""

    policies: dict[str, Policy] = Field(default_factory=dict, max_length=1024)
    """The same for single models, by name."""

    answers: dict[str, str] = Field(default_factory=dict, max_length=1024)
    """The version that answers requests that name none, by model; of the others the newest does.
    Loaded whatever the policy says; the server does not start where it cannot serve."""

    poll_seconds: float = Field(default=0, ge=0, le=86_400)
    """Time between two looks at the models directory: new versions are loaded, those that are gone
    retired. 0 = never: it is read at the start, and from then on versions come by hand."""

    max_versions: int = Field(default=64, ge=1, le=1024)
    """Versions that serve at a time; one more is refused. As many may be draining beside them."""

    load_on_demand: bool = False
    """Load a version for the first who asks for it, who waits, instead of at the start; where
    `max_versions` are held, the one used longest ago goes."""

    @field_validator("policies")
    @classmethod
    def _are_of_models(cls, policies: dict[str, Policy]) -> dict[str, Policy]:
        for name in policies:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name[:64]!r} is no model: a-z, 0-9, '.', '_', '-', at most 64")
        return policies
