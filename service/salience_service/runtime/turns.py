"""Whether calls of one session run side by side, or take turns."""

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext

from salience_service.runtime.device import Device

Turns = Callable[[Hashable], AbstractContextManager[object]]
"""A session's turn, to be held while it runs."""


def turns(device: Device, sessions: Sequence[Hashable]) -> Turns:
    """The turns of a device's sessions, each its own.

    Those of CUDA take turns: a session has one arena, of which two runs on streams of their own
    may be given the same memory (microsoft/onnxruntime#32342, open). What the host makes ready
    for the next call goes on meanwhile. Never run: no GPU was at hand.
    """
    if device.provider != "cuda":
        return lambda _: nullcontext()
    own = {session: threading.Lock() for session in sessions}
    return own.__getitem__
