"""What an explanation spends its time on, stage by stage, for whoever traces it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MOST_STAGES = 256
"""Kept of one explanation; those of 64 methods, each with its maps and scores, and some more."""


@dataclass(frozen=True)
class Stage:
    """A stretch of one explanation's time.

    Attributes:
        name: "decode", "queue", "clean_run", "method", "render" or "scores".
        began: `time.monotonic()` seconds. ended: likewise.
        method: whose it is, where it belongs to one.
    """

    name: str
    began: float
    ended: float
    method: str = ""


class Stages:
    """Owns the stages of one explanation; written by the thread that runs it."""

    def __init__(self) -> None:
        self._ended: list[Stage] = []

    @property
    def ended(self) -> tuple[Stage, ...]:
        """Those that are over, in the order they ended."""
        return tuple(self._ended)

    def add(self, stage: Stage) -> None:
        """Notes a stage that is over; beyond `MOST_STAGES` none is kept."""
        if len(self._ended) < MOST_STAGES:
            self._ended.append(stage)

    @contextmanager
    def stage(self, name: str, method: str = "") -> Iterator[None]:
        """Notes the time the block takes, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(Stage(name, began, time.monotonic(), method))
