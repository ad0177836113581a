"""Drives a method: its probes go to the scheduler, its answers come back, events come out."""

import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import GraphRole
from salience_service.control import Control
from salience_service.events import GradientSide, Progress
from salience_service.explanation.distinct_stream import DistinctStream
from salience_service.explanation.early_end import NEVER, EarlyEnd
from salience_service.explanation.gradient_call import (
    AnyGradientCall,
    GradientAnswers,
    GradientCalls,
)
from salience_service.explanation.known import Alike, Known
from salience_service.explanation.known_stream import KnownStream
from salience_service.explanation.row_call import RowCall, RowCalls
from salience_service.explanation.row_stream import RowStream
from salience_service.explanation.telling import HEARTBEAT_SECONDS, Telling, Told
from salience_service.explanation.voices import Voice, unison
from salience_service.methods.probe import (
    Answer,
    FloatMap,
    GradientAnswer,
    Gradients,
    MapGradient,
    MapGradientAnswer,
    Partial,
    RowAnswers,
    RowProbe,
)
from salience_service.models.model import Forward, ServedModel
from salience_service.openings import opened
from salience_service.request import StopWhen
from salience_service.row_graphs.sources import MaskedImage
from salience_service.scheduling.account import Account
from salience_service.scheduling.row_graph import RowGraph
from salience_service.scheduling.scheduler import Scheduler
from salience_service.scheduling.ticket import RowTicket

T = TypeVar("T")
Ran = tuple[GraphRole, str, tuple[int, int]]
"""A graph that ran: its role, for a tail its tap, and the shape of its maps, (0, 0) for none."""


@dataclass(frozen=True)
class _Begun:
    """Rows that are queued.

    Attributes:
        voices: who hears them. probes: of each voice.
        stream: their answers. alike: how they repeat; None where all must run.
        end: when their maps are good enough.
    """

    voices: Sequence[Voice]
    probes: Sequence[RowProbe]
    stream: RowStream | DistinctStream | KnownStream
    alike: Alike | None
    end: EarlyEnd

    @property
    def answered(self) -> bool:
        """Whether no more of them are waited for."""
        return self.end.rows <= self.stream.done


@dataclass
class Driver:
    """Makes the maps of one method, for one target or several.

    Attributes:
        gradient_side: which side takes gradients; NONE where the method takes none.
        image: what rows are masked from. clean: the run whose taps rows go on from.
        telling: what is said on the way. known: shared by all maps of the explanation.
        stop_when: what lets rows of anytime probes end early.
        began: when the method did, in `time.monotonic()` seconds.
        ran: the graphs that the maps were made of, each as the provenance names it.
    """

    gradient_side: GradientSide
    model: ServedModel
    scheduler: Scheduler
    control: Control
    account: Account
    image: MaskedImage
    clean: Forward
    known: Known
    telling: Telling
    stop_when: StopWhen = NEVER
    began: float = field(default_factory=time.monotonic)
    ran: set[Ran] = field(default_factory=set)

    def run(self, voices: Sequence[Voice]) -> Generator[Told, None, None]:
        """Runs voices until one or more have ended, yielding events on the way.

        Voices that ask for the same rows go on together; else the first goes on alone.

        Args:
            voices: some that have not ended.
        """
        for voice in voices:
            if voice.probe is None:
                self.control.check()  # One that asks nothing may take its time, for each target.
                yield from self._resume(voice, None)
        while all(voice.outcome is None for voice in voices):
            together = unison(voices)
            answers = yield from self._answers(together)
            for voice, answer in zip(together, answers, strict=True):
                yield from self._resume(voice, answer)

    def score(
        self, voices: Sequence[Voice], probes: Sequence[RowProbe], image: MaskedImage
    ) -> Generator[Told, None, tuple[RowAnswers, Alike | None]]:
        """Scores rows that are no part of a map's making, and that no map's provenance names.

        Args:
            voices: whose maps they are for.
            probes: of each voice, all of the same rows.
            image: what they are made from, which may have another fill than the method's.

        Returns:
            The answers, and how the rows repeated; None where all ran.
        """
        call = RowCalls(self.model, self.clean, image).of(probes[0])
        return (yield from self._scored(call, voices, probes, image))

    def score_together(
        self, voice: Voice, asked: Sequence[tuple[RowProbe, MaskedImage]]
    ) -> Generator[Told, None, list[RowAnswers]]:
        """Scores rows as `score` does, of several images that wait for the device side by side.

        The rows of one fill up the last batch of the other.
        """
        begun = []
        for probe, image in asked:
            call = RowCalls(self.model, self.clean, image).of(probe)
            begun.append((yield from self._begun(call, [voice], [probe], image)))
        return (yield from self._heard(begun))

    def _scored(
        self,
        call: RowCall,
        voices: Sequence[Voice],
        probes: Sequence[RowProbe],
        image: MaskedImage,
    ) -> Generator[Told, None, tuple[RowAnswers, Alike | None]]:
        """The rows of a call, and how they repeated.

        Every voice hears and shows them its own way, by its probe.
        """
        begun = yield from self._begun(call, voices, probes, image)
        (answer,) = yield from self._heard([begun])
        return answer, begun.alike

    def _begun(
        self,
        call: RowCall,
        voices: Sequence[Voice],
        probes: Sequence[RowProbe],
        image: MaskedImage,
    ) -> Generator[Told, None, _Begun]:
        """The rows of a call, queued."""
        self.telling.tally.spare(probes[0].spared)
        graph = yield from self._opened(voices[0], call.graph)
        stream: RowStream | DistinctStream | KnownStream
        alike = self.known.alike(probes[0], image)
        if (known := self.known.series(probes[0], image)) is not None:
            self.telling.tally.spare(len(known))
            stream = KnownStream(known)
        else:
            stream = self._stream(call, graph, alike)
        return _Begun(voices, probes, stream, alike, self._early_end(probes, stream.size))

    def _heard(self, begun: Sequence[_Begun]) -> Generator[Told, None, list[RowAnswers]]:
        """The answers of rows that are queued, as far as they are wanted; heard in turn."""
        for rows in begun:
            yield from self._settle(rows)
        while waiting := [rows for rows in begun if not rows.answered]:
            for rows in waiting:
                self.telling.tally.done += rows.stream.wait(self.telling.until_heartbeat())
                yield from self._settle(rows)
        return [self._answer(rows) for rows in begun]

    def _settle(self, rows: _Begun) -> Generator[Told, None, None]:
        """Tells how far rows have come; where enough are done, the others never run."""
        if rows.end.reached(rows.stream.logits) or rows.answered:
            self.telling.tally.expected -= rows.stream.end()
        yield from self.telling.progress(rows.voices[0], rows.answered)
        if not rows.answered and rows.stream.done:
            yield from self.telling.previews(rows.voices, rows.probes, rows.stream.logits)

    def _answer(self, rows: _Begun) -> RowAnswers:
        """The logits of the rows that were wanted; what was found out is kept."""
        logits, end = rows.stream.logits, rows.end
        if rows.alike:
            self.known.keep_rows(rows.alike, logits)
        for voice, convergence in zip(rows.voices, end.convergences, strict=True):
            voice.convergence = convergence or voice.convergence
        return RowAnswers(logits[: end.rows])

    def _early_end(self, probes: Sequence[RowProbe], size: int) -> EarlyEnd:
        asked = self.stop_when if all(probe.anytime for probe in probes) else NEVER
        return EarlyEnd(asked, self.began, probes, size)

    def _stream(
        self, call: RowCall, graph: RowGraph, alike: Alike | None
    ) -> RowStream | DistinctStream:
        """The rows on their way; those that are alike, or known, once or not at all."""

        def queue(masks: FloatMap) -> RowTicket:
            span, work = call.span(masks), call.role.value
            return self.scheduler.rows(graph, span, self.control, self.account, work)

        batch_size, lanes = graph.batch_size(call.masks.shape[1:]), self.scheduler.lanes
        if alike is None:
            return RowStream(call.masks, batch_size, queue, lanes)
        maps = alike.maps
        if not alike.repeated:
            return RowStream(maps, batch_size, queue, lanes)
        self.telling.tally.spare(alike.repeated)

        def of(fresh: NDArray[np.intp]) -> RowStream:
            return RowStream(maps[fresh], batch_size, queue, lanes)

        return DistinctStream(alike, of)

    def _answers(self, voices: Sequence[Voice]) -> Generator[Told, None, list[Answer]]:
        """The answers to what the voices ask, which is one thing; one for each."""
        probe, first = voices[0].probe, voices[0]
        if isinstance(probe, RowProbe):
            probes = [voice.probe for voice in voices if isinstance(voice.probe, RowProbe)]
            call = RowCalls(self.model, self.clean, self.image).of(probe)
            self.ran.add((call.role, call.tap, call.shape))
            answer, _ = yield from self._scored(call, voices, probes, self.image)
            self.known.keep_series(probe, self.image, answer.logits)
            return [answer] * len(voices)
        assert isinstance(probe, MapGradient | Gradients)
        return [(yield from self._gradient(probe, first))]

    def _gradient(
        self, probe: MapGradient | Gradients, voice: Voice
    ) -> Generator[Progress, None, MapGradientAnswer | GradientAnswer]:
        """The answer of whoever takes this method's gradients, or the one known already."""
        calls = GradientCalls(self.model, self.gradient_side, self.clean, self.image, voice.target)
        call = calls.of(probe)
        if self.gradient_side is GradientSide.ONNX:
            self.ran.add((call.role, call.tap, call.shape))
        yield from self._until_done(voice, call.opening)
        if isinstance(probe, MapGradient):
            return (yield from self._called(voice, call))
        asked = probe, voice.target, self.gradient_side
        if known := self.known.gradient(*asked):
            self.telling.tally.spare(1)
            yield from self.telling.progress(voice, self.telling.tally.complete)
            return known
        answer = yield from self._called(voice, call)
        assert isinstance(answer, GradientAnswer)
        self.known.keep_gradient(*asked, answer)
        return answer

    def _resume(self, voice: Voice, answer: Answer) -> Generator[Told, None, None]:
        """Lets a voice go on until it asks something or ends, with its partial maps told."""
        try:
            probe = next(voice.run) if answer is None else voice.run.send(answer)
            while isinstance(probe, Partial):
                yield from self.telling.partial(voice, probe)
                probe = next(voice.run)
            voice.probe = probe
        except StopIteration as end:
            voice.probe, voice.outcome = None, end.value

    def _called(
        self, voice: Voice, call: AnyGradientCall
    ) -> Generator[Progress, None, GradientAnswers]:
        """One call that has the device to itself, told as a row."""
        work, alone = call.put()
        ticket = self.scheduler.call(work, self.control, self.account, call.role.value, alone)
        while not ticket.wait(0, self.telling.until_heartbeat()):
            yield from self.telling.progress(voice)
        self.telling.tally.done += 1
        yield from self.telling.progress(voice, self.telling.tally.complete)
        assert ticket.result is not None
        return ticket.result

    def _opened(self, voice: Voice, opening: Future[T]) -> Generator[Progress, None, T]:
        """What may take some seconds to open when it is first asked for."""
        yield from self._until_done(voice, opening)
        return opened(opening)

    def _until_done(self, voice: Voice, opening: Future[Any]) -> Generator[Progress, None, None]:
        while not wait([opening], self.control.remaining(HEARTBEAT_SECONDS)).done:
            self.control.check()
            yield from self.telling.progress(voice)
