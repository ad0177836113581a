"""Runs a soak: a server in a process of its own, callers, and its memory while they call."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from salience_client import Client
from tests.soak.callers import Findings, call
from tests.soak.truths import Truth, asked, truths
from tests.support.processes import COMMAND, running

CALLERS = 12
_WARM = 0.2
"""The share of the time after which memory counts."""
_LOOKS = 40


@dataclass(frozen=True)
class Soaked:
    """What a soak came to.

    Attributes:
        findings: of all callers. resident: bytes of the server's memory, from when it was warm
            to the end, looked at evenly.
    """

    findings: Findings
    seconds: float
    resident: Sequence[int]

    @property
    def grown(self) -> int:
        """Bytes between the first fifth of the looks and the last, by their least."""
        share = max(1, len(self.resident) // 5)
        return min(self.resident[-share:]) - min(self.resident[:share])


def soaked(models: Path, seconds: float) -> Soaked:
    """Soaks a server of a models directory that holds the small residual net."""
    known, findings, over = truths(models), Findings(), threading.Event()
    with running(*COMMAND, "serve", models, "--unsigned", "--address", "127.0.0.1:0") as (
        process,
        address,
    ):
        with _calling(address, known, findings, over):
            resident = list(_resident(process.pid, seconds))
        _goes_on(address, known, findings)
    return Soaked(findings, seconds, resident)


@contextmanager
def _calling(
    address: str, known: Sequence[Truth], findings: Findings, over: threading.Event
) -> Iterator[None]:
    threads = [
        threading.Thread(target=call, args=(address, known, seed, findings, over))
        for seed in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _resident(process: int, seconds: float) -> Iterator[int]:
    """The server's resident memory, looked at while the time runs."""
    began = time.monotonic()
    warm = _WARM * seconds
    for look in range(_LOOKS + 1):
        due = began + warm + (seconds - warm) * look / _LOOKS
        time.sleep(max(0.0, due - time.monotonic()))
        text = Path(f"/proc/{process}/status").read_text()
        yield 1024 * int(text.partition("VmRSS:")[2].split()[0])


def _goes_on(address: str, known: Sequence[Truth], findings: Findings) -> None:
    """Afterwards everything is answered as ever."""
    with Client(address) as client:
        for truth in known:
            if not truth.is_told_by(asked(client, truth.image, truth.method)):
                findings.blame(f"afterwards, another answer of {truth.method.name}")
