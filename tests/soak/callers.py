"""Callers: each asks at random, one thing after the other, and notes what came of it."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from salience_client import Client, Method, explain_request
from salience_client.errors import DeadlineExceeded, InvalidRequest, NotFound, SalienceError
from salience_client.events import Failed
from tests.soak.truths import MODEL, Truth, asked


@dataclass
class Findings:
    """What came of everything that was asked; safe from any thread.

    Attributes:
        outcomes: requests by what was done and what came of it.
        faults: what must not happen, in words.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1

    def blame(self, fault: str) -> None:
        with self._lock:
            self.outcomes["fault"] += 1
            self.faults.append(fault)


def call(
    address: str,
    known: Sequence[Truth],
    seed: int,
    findings: Findings,
    over: threading.Event,
) -> None:
    """One caller, until it is over."""
    chance = random.Random(seed)
    with Client(address, retries=None) as client:
        while not over.is_set():
            act = chance.choices(_ACTS, _WEIGHTS)[0]
            try:
                act(client, known, chance, findings)
            except SalienceError as error:
                findings.blame(f"{act.__name__}: {type(error).__name__}: {error}")


def patient(
    client: Client, known: Sequence[Truth], chance: random.Random, findings: Findings
) -> None:
    """Waits for the answer, which must be the right one."""
    truth = chance.choice(known)
    _compare(truth, asked(client, truth.image, truth.method), findings, "answered")


def leaving(
    client: Client, known: Sequence[Truth], chance: random.Random, findings: Findings
) -> None:
    """Goes away after an event or two."""
    truth = chance.choice(known)
    events = client.stream(truth.image, model=MODEL, methods=truth.method)
    for _ in range(chance.randint(1, 3)):
        next(events, None)
    events.close()
    findings.note("cancelled")


def hurried(
    client: Client, known: Sequence[Truth], chance: random.Random, findings: Findings
) -> None:
    """Has hardly any time; an answer that comes in it must be the right one."""
    truth = chance.choice(known)
    try:
        found = asked(client, truth.image, truth.method, timeout=chance.uniform(0.001, 0.2))
    except DeadlineExceeded:
        findings.note("out of time")
    else:
        _compare(truth, found, findings, "answered in a hurry")


def wrong(
    client: Client, known: Sequence[Truth], chance: random.Random, findings: Findings
) -> None:
    """Asks what must be refused."""
    truth = chance.choice(known)
    picture = bytearray(truth.image)
    place = chance.randrange(8)
    picture[place] ^= 0xFF  # The signature of the file.
    bad: Sequence[tuple[bytes, Method, str]] = (
        (bytes(picture), truth.method, MODEL),
        (truth.image, Method("no-such-method"), MODEL),
        (truth.image, Method("opti-cam", iterations=-1), MODEL),
        (truth.image, truth.method, "no-such-model"),
    )
    image, method, model = chance.choice(bad)
    try:
        client.explain(image, model=model, methods=method)
    except (InvalidRequest, NotFound):
        findings.note("refused")
    else:
        findings.blame(f"{method.name} of {model} was answered")


def many(client: Client, known: Sequence[Truth], chance: random.Random, findings: Findings) -> None:
    """Several over one call, one of them wrong: every tag must be answered once."""
    picked = {str(number): chance.choice(known) for number in range(4)}
    requests = [
        (tag, explain_request(truth.image, model=MODEL, methods=truth.method))
        for tag, truth in picked.items()
    ]
    requests.append(("bad", explain_request(b"no image", model=MODEL, methods="fake-cam")))
    maps: Counter[str] = Counter()
    for tag, event in client.explain_many(requests, timeout=120):
        name = type(event).__name__
        if isinstance(event, Failed) and tag != "bad":
            findings.blame(f"one of many failed: {event}")
        if name == "SaliencyMap" and event.array.tobytes() != picked[tag].map_bytes:
            findings.blame(f"another map of {picked[tag].method.name} among many")
        maps[tag] += name in ("SaliencyMap", "Failed")
    if maps != Counter(dict.fromkeys((*picked, "bad"), 1)):
        findings.blame(f"of many, answers by tag: {dict(maps)}")
    findings.note("many")


def _compare(truth: Truth, found: object, findings: Findings, outcome: str) -> None:
    if truth.is_told_by(found):  # type: ignore[arg-type]
        findings.note(outcome)
    else:
        findings.blame(f"another answer of {truth.method.name}")


_ACTS: Sequence[Callable[[Client, Sequence[Truth], random.Random, Findings], None]] = (
    patient,
    leaving,
    hurried,
    wrong,
    many,
)
_WEIGHTS = (10, 3, 3, 3, 1)
