"""The errors a caller can meet: one flat family; `rpc/wire/status.py` gives each its gRPC status.

A message holds the value refused, the limit and the remedy, and never a path of
the server, a stack or anything else from inside.
"""

from copy import copy
from typing import NamedTuple, TypeVar

E = TypeVar("E", bound="SalienceError")


class Resource(NamedTuple):
    """What an error is about: its kind ("model", "version", "method", …) and its name."""

    kind: str
    name: str


class SalienceError(Exception):
    """Anything that ends a request and is told to the caller as it stands.

    Args:
        message: what was wrong, the limit and the remedy.
        field: what in the request is at fault, by the names of the contract, such as
            "methods[1].options.steps"; empty where it is no one field. `field_path.at` puts
            the outer part before it.
        retry_after: seconds after which the same request may succeed, or None.
        resource: what was not found, or not allowed: (kind, name).

    Attributes:
        origin: the same in all errors that `anew` makes of this one, and in no other.
    """

    def __init__(
        self,
        message: str = "",
        *,
        field: str = "",
        retry_after: float | None = None,
        resource: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after = retry_after
        self.resource = None if resource is None else Resource(*resource)
        self.origin = object()


class InvalidRequest(SalienceError):
    """Something in the request is wrong; the same request will always fail."""


class NotFound(SalienceError):
    """The model or version asked for is not served."""


class Unauthenticated(SalienceError):
    """The caller did not show who they are, or not well enough."""


class PermissionDenied(SalienceError):
    """The caller is known, and may not do this."""


class Unsupported(SalienceError):
    """A form that can be said but that this server does not answer (yet)."""


class NotPossible(SalienceError):
    """The model, as it was exported, cannot answer this; the message says what would help.

    Also where its numbers overflow on what was asked: the device is well, and would do it again.
    """


class NoFinding(SalienceError):
    """The image has nothing of what was asked: the request is right, and there is no map."""


class Overloaded(SalienceError):
    """The server is full; the same request may succeed later."""


class QuotaExceeded(Overloaded):
    """The caller has used up their share; the same request may succeed later."""


class Unavailable(SalienceError):
    """The server drains or is about to restart; safe to send again, here or elsewhere."""


class DeadlineExceeded(SalienceError):
    """The caller's time ran out before the answer was complete."""


class Cancelled(SalienceError):
    """The caller went away."""


class ComputeFailed(SalienceError):
    """The device or the runtime failed while rows of this request ran."""


class BundleRefused(SalienceError):
    """A bundle is damaged, tampered with or not what its manifest says."""


class ConfigRefused(SalienceError):
    """The server's configuration is wrong; told to whoever starts it, never to a caller."""


def anew(error: E) -> E:
    """The same error, to be raised once more by whoever waited for what failed.

    An error holds the frames that it went through, and they what they worked on: kept somewhere and
    raised there, it is a ring around a request's image that only the collector would open.
    """
    return copy(error)
