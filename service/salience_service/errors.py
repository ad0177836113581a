"""The errors a caller can meet: one flat family; `rpc/status.py` gives each its gRPC status.

A message holds the value refused, the limit and the remedy, and never a path of
the server, a stack or anything else from inside.
"""


class SalienceError(Exception):
    """Anything that ends a request and is told to the caller as it stands."""


class InvalidRequest(SalienceError):
    """Something in the request is wrong; the same request will always fail."""


class NotFound(SalienceError):
    """The model or version asked for is not served."""


class Unsupported(SalienceError):
    """A form that can be said but that this server does not answer (yet)."""


class NotPossible(SalienceError):
    """The model, as it was exported, cannot answer this; the message says what would help."""


class Overloaded(SalienceError):
    """The server is full; the same request may succeed later."""


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
