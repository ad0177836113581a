"""Fuzzing guided by coverage: atheris watches which lines of ours an input reaches."""

import inspect
import os
import random
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import NoReturn

from tests.fuzz.record import Record, resident_bytes
from tests.fuzz.subjects import Subject

_OURS = "salience_service."
_SEEDS = 200
"""Examples that inputs are made from until there are better ones."""


def guided(subject: Subject, inputs: int, seed: int, tell: Callable[[Record], None]) -> NoReturn:
    """Tries as many inputs, each made from those that reached new lines; then the process ends.

    Raises:
        SystemExit: atheris is not installed.
    """
    try:
        import atheris
    except ImportError:
        raise SystemExit("guided fuzzing needs atheris: pip install atheris") from None
    record, warm = Record(subject.name), resident_bytes()
    chance = random.Random(f"{subject.name} {seed}")
    examples = [subject.example(chance) for _ in range(_SEEDS)]

    def attempt(data: bytes) -> None:
        record.note(subject, data)
        if record.inputs >= inputs:  # libFuzzer itself ends without a word.
            record.grown = resident_bytes() - warm
            tell(record)
            os._exit(bool(record.faults))

    def altered(data: bytes, most: int, number: int) -> bytes:
        start = random.Random(number)
        fresh = start.random() < 0.1 or len(data) < 8
        mutation: bytes = atheris.Mutate(start.choice(examples) if fresh else data, most)
        return mutation

    for function in _ours():
        atheris.instrument_func(function)
    atheris.Setup(
        [sys.argv[0], f"-seed={seed + 1}", "-max_len=65536"], attempt, custom_mutator=altered
    )
    atheris.Fuzz()
    raise AssertionError("libFuzzer returned")


def _ours() -> Iterator[FunctionType]:
    """Every function and method of the service; the libraries' would take a minute to prepare."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith(_OURS):
            for member in vars(module).values():
                found = vars(member).values() if inspect.isclass(member) else [member]
                yield from (
                    each for each in found if inspect.isfunction(each) and each.__module__ == name
                )
