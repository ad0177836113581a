"""What callers are told when a server or a model goes: to send again, and when."""

from salience_service.errors import Unavailable

RETRY_SECONDS = 1.0
"""Another replica answers at once; this one is back a second after it crashed, at the earliest."""


def draining() -> Unavailable:
    """To who comes while the server lets the last explanations end."""
    return _unavailable("the server is stopping and takes nothing new")


def stopped() -> Unavailable:
    """To who was still being answered when the time for that was over."""
    return _unavailable("the server stopped before the answer was complete")


def stuck() -> Unavailable:
    """To who waits behind a call that does not return."""
    return _unavailable("the device does not answer and the server starts again")


def broken(model: str) -> Unavailable:
    """To who asks a model whose answers are wrong."""
    return _unavailable(f"model {model} fails on the device and is out of service")


def _unavailable(what: str) -> Unavailable:
    return Unavailable(f"{what}: send the request again", retry_after=RETRY_SECONDS)
