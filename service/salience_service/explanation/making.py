"""The maps of one method in the making: for every target, with their scores, as they are ready."""

import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from salience_service.events import Event, ScoreCurve
from salience_service.explanation.driver import Driver
from salience_service.explanation.findings import Findings
from salience_service.explanation.plan import PlannedMethod
from salience_service.explanation.subject import Subject
from salience_service.explanation.telling import Told
from salience_service.explanation.voices import Voice
from salience_service.scores.curves import curve, curve_rows
from salience_service.scores.faithfulness import masked_rows


@dataclass
class Made:
    """What maps took.

    Attributes:
        seconds: by map id; of maps that were ready together, each has an equal share.
        rows: by map id, scores included; rows that several maps were made of count for each.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    rows: Counter[int] = field(default_factory=Counter)

    def share(self, ended: Sequence[Voice], seconds: float) -> None:
        """Counts the seconds of maps that were ready together."""
        for voice in ended:
            self.seconds[voice.map_id] = seconds / len(ended)

    def add(self, voices: Sequence[Voice], rows: int) -> None:
        """Counts rows that ran for each of these maps."""
        for voice in voices:
            self.rows[voice.map_id] += rows


@dataclass
class Making:
    """Makes the maps of one method of the plan.

    Attributes:
        planned: the method. subject: the image. driver: asks the device for it.
        findings: tells what was found. made: what the maps of the answer took.
    """

    planned: PlannedMethod
    subject: Subject
    driver: Driver
    findings: Findings
    made: Made

    def events(self, first_map: int, rows_after: int) -> Generator[Event, None, None]:
        """Makes a map for each target, told as they are ready.

        Args:
            first_map: number of the first target's map.
            rows_after: rows expected of the methods that come after.
        """
        waiting, tally = self._voices(first_map), self.driver.telling.tally
        with ExitStack() as stack:
            for voice in waiting:
                stack.enter_context(closing(voice.run))
            while waiting:
                began, before = time.monotonic(), tally.done
                with self._stage("method"):
                    yield from self.driver.run(waiting)
                ended = [voice for voice in waiting if voice.outcome is not None]
                waiting = [voice for voice in waiting if voice.outcome is None]
                self.made.add(ended, tally.done - before)
                yield from self._told(ended)
                self.made.share(ended, time.monotonic() - began)
                ahead = self.planned.rows_for(len(waiting)) + rows_after
                tally.expected = tally.done + ahead

    def _voices(self, first_map: int) -> list[Voice]:
        run, options, subject = self.planned.method.run, self.planned.options, self.subject
        return [
            Voice(map_id, target, run(subject.base(self.planned.taps, target), options))
            for map_id, target in enumerate(subject.targets, first_map)
        ]

    def _told(self, ended: Sequence[Voice]) -> Generator[Event, None, None]:
        """Maps that are ready, then their scores."""
        for voice in ended:
            with self._stage("render"):
                told = self.findings.finished_map(voice, self.driver, self.planned, self.subject)
            yield told
        if self.findings.order.scores:
            with self._stage("scores"):
                yield from self._scored(ended)

    def _scored(self, ended: Sequence[Voice]) -> Generator[Event, None, None]:
        logits = yield from self._masked(ended)
        for voice, masked in zip(ended, logits, strict=True):
            curves = yield from self._curves(voice)
            yield self.findings.scores(voice, self.subject, masked, curves)

    def _stage(self, name: str) -> AbstractContextManager[None]:
        return self.driver.control.stages.stage(name, self.planned.method.name)

    def _masked(self, ended: Sequence[Voice]) -> Generator[Told, None, NDArray[np.float32]]:
        """Logits [n, K] of the image masked by each of the maps, which have one size."""
        rows, image = masked_rows([voice.ended for voice in ended]), self.subject.score_image
        answer, alike = yield from self.driver.score(ended[:1], [rows], image)
        # A row that several maps share counts for each; one that was known ran for none.
        ran = [voice for row, voice in enumerate(ended) if alike is None or alike.place[row] >= 0]
        self.made.add(ran, 1)
        return answer.logits

    def _curves(self, voice: Voice) -> Generator[Told, None, list[ScoreCurve]]:
        """The curves that the scores asked for are taken of."""
        size = self.subject.prepared.tensor.shape[1:]
        asked = curve_rows(self.findings.order.scores, voice.ended, size)
        tally = self.driver.telling.tally
        before = tally.done
        answers = yield from self.driver.score_together(
            voice, [(rows, self.subject.curve_images[kind]) for kind, rows in asked.items()]
        )
        self.made.add([voice], tally.done - before)
        return [
            curve(kind, voice.target, answer.logits)
            for kind, answer in zip(asked, answers, strict=True)
        ]
