"""The supervisor: a small parent that starts a server, and starts it again when it crashes.

A native call that does not return cannot be ended inside its process, and a segmentation
fault ends the process with it: somebody outside must start it again. systemd, Docker and
Kubernetes do so (`deploy/`); this is for who has none of them. circus and supervisord do it
too, with a daemon, a control socket and a configuration of their own beside ours (circus
also with ZeroMQ and tornado); one child with one policy is less than their glue would be.
"""

import asyncio
import ctypes
import logging
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence

from salience_service.life.exit_codes import FAILED, FINAL, GAVE_UP, STOPPED, STUCK
from salience_service.life.restarts import RestartPolicy, Restarts

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that this process gets when its parent dies."""


class Supervisor:
    """Runs one command until it ends well, is told to stop, or crashes too often.

    Args:
        command: what to run; its words are not interpreted.
        policy: how often it is started again.
        stop_seconds: how long it may take to stop once told; then it is killed.
    """

    def __init__(self, command: Sequence[str], policy: RestartPolicy, stop_seconds: float) -> None:
        self._command = command
        self._restarts = Restarts(policy)
        self._policy = policy
        self._stop_seconds = stop_seconds
        self._child: Process | None = None
        self._told_to_stop = asyncio.Event()

    async def run(self) -> int:
        """Supervises until there is nothing more to do. Returns the code to exit with."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hand_on, number)
        may_be_final = True
        while True:
            began = time.monotonic()
            code = await self._one_life()
            if self._told_to_stop.is_set() or code == STOPPED:
                return _as_exit_code(code)
            if may_be_final and code in FINAL:
                _log.error("the server refused to start (code %d): not tried again", code)
                return code
            may_be_final = False
            now = time.monotonic()
            wait = self._restarts.wait(now - began, now)
            if wait is None:
                _log.error("the server %s; %s", _in_words(code), self._why_no_more())
                return GAVE_UP
            _log.warning("the server %s; it starts again in %.1f s", _in_words(code), wait)
            if await self._stopped_within(wait):
                return STOPPED

    async def _one_life(self) -> int:
        """Starts the server and waits for its end. Returns its code; −n for signal n."""
        # A group of its own: Ctrl-C in a terminal reaches it once, through us, not twice.
        try:
            self._child = child = await asyncio.create_subprocess_exec(
                *self._command, process_group=0, preexec_fn=_stop_with_parent()
            )
        except OSError as error:  # no memory for another process, say
            _log.error("the server cannot be started: %s", error.strerror)
            return FAILED
        if self._told_to_stop.is_set():
            self._hand_on(signal.SIGTERM)  # The word came while it was being started.
        killer = asyncio.create_task(self._kill_when_late(child))
        try:
            return await child.wait()
        finally:
            killer.cancel()
            self._child = None

    def _hand_on(self, number: signal.Signals) -> None:
        self._told_to_stop.set()
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    async def _kill_when_late(self, child: Process) -> None:
        await self._told_to_stop.wait()
        await asyncio.sleep(self._stop_seconds)
        _log.error("the server did not stop within %.1f s: killed", self._stop_seconds)
        child.kill()

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._told_to_stop.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _why_no_more(self) -> str:
        most, window = self._policy.most, self._policy.window
        return f"after {most} restarts within {window:g} s the supervisor gives up"


def _stop_with_parent() -> Callable[[], None] | None:
    """Tells a child on Linux to stop when this process dies, lest it keep the port for ever."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _in_words(code: int) -> str:
    """How a process ended, by its code."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return "was stuck and ended itself" if code == STUCK else f"ended with code {code}"


def _as_exit_code(code: int) -> int:
    """Of a child that a signal ended, what a shell would say."""
    return code if code >= 0 else 128 - code
