"""A record of fuzzing: what became of every input, how long the slowest took, what memory grew."""

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from salience_service.errors import SalienceError
from salience_service.rpc.wire.status import status_of
from tests.fuzz.subjects import SECONDS, Subject

_BLAMES_US = {grpc.StatusCode.UNKNOWN.value[0], grpc.StatusCode.INTERNAL.value[0]}
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_INSIDE = re.compile(
    r"salience_service|Traceback|site-packages|\.py\b|/(tmp|home|usr|root|opt)/|0x[0-9a-f]{6}"
)
_SLOW = 4 * SECONDS
"""Seconds beyond which an input counts as a hang: the deadline, with room for a busy machine."""
_WARM = 0.2
"""The share of inputs after which memory is first read."""


@dataclass
class Record:
    """What became of the inputs of one subject.

    Attributes:
        outcomes: inputs by "accepted" or the status of their refusal.
        faults: of each input that showed a fault: what it was, and the input in hexadecimal.
        slowest: seconds. grown: bytes of resident memory between the first fifth and the end.
    """

    subject: str
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0
    grown: int = 0

    @property
    def inputs(self) -> int:
        return self.outcomes.total()

    def note(self, subject: Subject, data: bytes) -> None:
        """Tries one input."""
        began = time.monotonic()
        outcome, fault = _outcome(subject, data)
        taken = time.monotonic() - began
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, taken)
        self.seconds += taken
        if taken > _SLOW:
            fault = f"took {taken:.1f} s"
        if fault:
            self.faults.append((fault, data.hex()))


def recorded(subject: Subject, inputs: int, seed: int) -> Record:
    """Tries as many inputs at random; the same seed tries the same ones."""
    chance, record = random.Random(f"{subject.name} {seed}"), Record(subject.name)
    warm = 0
    for number in range(inputs):
        if number == int(_WARM * inputs):
            warm = resident_bytes()
        record.note(subject, subject.example(chance))
    record.grown = resident_bytes() - warm
    return record


def resident_bytes() -> int:
    """Of this process; 0 where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(text.partition("VmRSS:")[2].split()[0])


def _outcome(subject: Subject, data: bytes) -> tuple[str, str]:
    """What became of an input, and what was wrong with that, if anything."""
    try:
        subject.attempt(data)
    except SalienceError as error:
        status = status_of(error)
        name = _NAMES[status.code]
        if status.code in _BLAMES_US:
            return name, f"{name}: {error}"
        leak = _INSIDE.search(status.message)
        return name, f"its text shows the inside: {status.message}" if leak else ""
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    return "accepted", ""
