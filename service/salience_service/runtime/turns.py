"""Whether calls of one session run side by side, or take turns."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from salience_service.runtime.device import Device


class Turn:
    """A call's turn of the sessions that it runs; written by the call's thread, read by any.

    Attributes:
        waits: whether it waits for one now: it is not on the device, whoever is.
        began: when the first came, `time.monotonic()`, moved on by the wait for any later one;
            None before it, and where no turns are taken.
    """

    def __init__(self) -> None:
        self.waits = False
        self.began: float | None = None

    @contextmanager
    def taken(self, own: threading.Lock) -> Iterator[None]:
        """Waits for a session's own turn, and holds it."""
        asked, self.waits = time.monotonic(), True
        with own:
            came = time.monotonic()
            self.began = came if self.began is None else self.began + came - asked
            self.waits = False
            yield


Turns = Callable[[Hashable, Turn], AbstractContextManager[object]]
"""Of a session for a call, to be held while it runs there."""


def turns(device: Device, sessions: Sequence[Hashable]) -> Turns:
    """The turns of a device's sessions, each its own.

    Those of CUDA take turns: a session has one arena, of which two runs on streams of their own
    may be given the same memory (microsoft/onnxruntime#32342, open). So do TensorRT's, behind
    which CUDA runs what no engine took. What the host makes ready for the next call goes on
    meanwhile. Never run: no GPU was at hand.
    """
    if device.provider == "cpu":
        return lambda *_: nullcontext()
    own = {session: threading.Lock() for session in sessions}
    return lambda session, turn: turn.taken(own[session])
