"""A caller the server knows by name, and what it may ask."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase


class Call(Enum):
    """What a caller may want of the server; every RPC asks for one of these."""

    DESCRIBE = "describe"
    """List and describe models; reflection."""
    EXPLAIN = "explain"
    """Explain images."""
    INFER = "infer"
    """Plain prediction over the Open Inference Protocol."""
    ADMIN = "admin"
    """Load, retire and roll back models."""


LONGEST_NAME = 1024
"""No model and no method has a longer one; patterns are matched on the event loop."""


@dataclass(frozen=True)
class Permissions:
    """What a principal may ask.

    Attributes:
        models: patterns (`*`, `?`, `[a-c]`) of the names of models it knows of; others do not
            exist for it.
        methods: patterns of the names of explanation methods it may ask for.
        calls: what it may want of the server.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...]
    calls: frozenset[Call]

    def sees(self, model: str) -> bool:
        """Whether a model of that name may exist for it."""
        return _matches(model, self.models)

    def has_method(self, method: str) -> bool:
        """Whether it may ask for this explanation method."""
        return _matches(method, self.methods)

    def has(self, call: Call) -> bool:
        """Whether it may want this of the server."""
        return call in self.calls


def _matches(name: str, patterns: Collection[str]) -> bool:
    return len(name) <= LONGEST_NAME and any(fnmatchcase(name, each) for each in patterns)


NOTHING = Permissions((), (), frozenset())
ALL_BUT_ADMIN = Permissions(("*",), ("*",), frozenset(Call) - {Call.ADMIN})


@dataclass(frozen=True)
class Principal:
    """Someone the server knows.

    Attributes:
        name: as audit, metrics and logs write it.
        may: what it may ask.
    """

    name: str
    may: Permissions


ANONYMOUS = Principal("anonymous", ALL_BUT_ADMIN)
"""Every caller, where no identity is configured."""
NOBODY = Principal("nobody", NOTHING)
"""A caller that nothing has looked at yet: it may do nothing."""
