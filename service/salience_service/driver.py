"""Drives a method: its probes go to the scheduler, its answers come back, events come out."""

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import GraphRole
from salience_service.control import Control
from salience_service.events import GradientSide, PartialMap, Progress
from salience_service.gradient_call import GradientCalls, graph_of
from salience_service.methods.probe import (
    Answer,
    FloatMap,
    Gradients,
    MapGradient,
    Partial,
    RowAnswers,
    RowProbe,
)
from salience_service.model import Forward, ServedModel
from salience_service.row_call import RowCall, RowCalls
from salience_service.row_graphs.sources import MaskedImage
from salience_service.row_stream import RowStream
from salience_service.scheduler import Scheduler
from salience_service.session import Stop
from salience_service.ticket import Account, RowTicket
from salience_service.voices import Voice, unison

T = TypeVar("T")
Told = Progress | PartialMap
Ran = tuple[GraphRole, str, tuple[int, int]]
"""A graph that ran: its role, for a tail its tap, and the shape of its maps, (0, 0) for none."""
HEARTBEAT_SECONDS = 0.4
"""Progress is told at least this often, even where no row was completed since, at any pace."""


@dataclass(frozen=True)
class Pace:
    """How often a running explanation speaks: least seconds between partial maps and progress."""

    partial_seconds: float = 0.25
    progress_seconds: float = 0.1


@dataclass
class Tally:
    """Rows done and expected over a whole explanation."""

    expected: int
    done: int = 0


@dataclass
class Driver:
    """Makes the maps of one method, for one target or several. Owns when it last spoke.

    Attributes:
        gradient_side: which side takes gradients; NONE where the method takes none.
        image: what rows are masked from. clean: the run whose taps rows go on from.
        tally: shared by all maps of the explanation.
        ran: the graphs that the maps were made of, each as the provenance names it.
    """

    method: str
    gradient_side: GradientSide
    model: ServedModel
    scheduler: Scheduler
    control: Control
    account: Account
    image: MaskedImage
    clean: Forward
    tally: Tally
    pace: Pace
    wants_partial_maps: bool
    ran: set[Ran] = field(default_factory=set)
    _progress_at: float = 0.0
    _partial_at: float = 0.0

    def run(self, voices: Sequence[Voice]) -> Generator[Told, None, None]:
        """Runs voices until one or more have ended, yielding events on the way.

        Voices that ask for the same rows go on together; else the first goes on alone.

        Args:
            voices: some that have not ended.
        """
        for voice in voices:
            if voice.probe is None:
                yield from self._resume(voice, None)
        while all(voice.outcome is None for voice in voices):
            together = unison(voices)
            answers = yield from self._answers(together)
            for voice, answer in zip(together, answers, strict=True):
                yield from self._resume(voice, answer)

    def score(
        self, voices: Sequence[Voice], probes: Sequence[RowProbe], image: MaskedImage
    ) -> Generator[Told, None, RowAnswers]:
        """Scores rows that are no part of a map's making, and that no map's provenance names.

        Args:
            voices: whose maps they are for.
            probes: of each voice, all of the same rows.
            image: what they are made from, which may have another fill than the method's.
        """
        call = RowCalls(self.model, self.clean, image).of(probes[0])
        return (yield from self._scored(call, voices, probes))

    def _scored(
        self, call: RowCall, voices: Sequence[Voice], probes: Sequence[RowProbe]
    ) -> Generator[Told, None, RowAnswers]:
        """The rows of a call; every voice hears and shows them its own way, by its probe."""
        graph = yield from self._opened(voices[0], call.graph)

        def queue(masks: FloatMap) -> RowTicket:
            return self.scheduler.rows(graph, call.span(masks), self.control, self.account)

        def heard(masks: FloatMap, logits: NDArray[np.float32]) -> None:
            for probe in probes:
                if probe.heard:
                    probe.heard(masks, logits)

        stream = RowStream(call.masks, graph.batch_size, queue, heard)
        while stream.done < stream.size:
            self.tally.done += stream.wait(self._until_heartbeat())
            yield from self._due_progress(voices[0], stream.done == stream.size)
            if 0 < stream.done < stream.size:
                yield from self._due_previews(voices, probes, stream.logits)
        return RowAnswers(stream.logits)

    def _answers(self, voices: Sequence[Voice]) -> Generator[Told, None, list[Answer]]:
        """The answers to what the voices ask, which is one thing; one for each."""
        probe, first = voices[0].probe, voices[0]
        if isinstance(probe, RowProbe):
            probes = [voice.probe for voice in voices if isinstance(voice.probe, RowProbe)]
            call = RowCalls(self.model, self.clean, self.image).of(probe)
            self.ran.add((call.role, call.tap, call.shape))
            answer = yield from self._scored(call, voices, probes)
            return [answer] * len(voices)
        assert isinstance(probe, MapGradient | Gradients)
        calls = GradientCalls(self.model.manifest, self.image, first.target)
        if self.gradient_side is GradientSide.ONNX:
            role, shape = graph_of(probe)
            self.ran.add((role, "", shape))
        side = yield from self._opened(first, self.model.gradients.open(self.gradient_side))
        if isinstance(probe, MapGradient):
            return [(yield from self._called(first, calls.of_map(probe, side)))]
        return [(yield from self._called(first, calls.of_image(probe, side)))]

    def _resume(self, voice: Voice, answer: Answer) -> Generator[Told, None, None]:
        """Lets a voice go on until it asks something or ends, with its partial maps told."""
        try:
            probe = next(voice.run) if answer is None else voice.run.send(answer)
            while isinstance(probe, Partial):
                if self.wants_partial_maps:
                    yield _partial_map(voice, probe)
                probe = next(voice.run)
            voice.probe = probe
        except StopIteration as end:
            voice.probe, voice.outcome = None, end.value

    def _called(self, voice: Voice, call: Callable[[Stop], T]) -> Generator[Progress, None, T]:
        """One call that has the device to itself, told as a row."""
        ticket = self.scheduler.call(call, self.control, self.account)
        while not ticket.wait(0, self._until_heartbeat()):
            yield from self._due_progress(voice, last=False)
        self.tally.done += 1
        yield from self._due_progress(voice, self.tally.done == self.tally.expected)
        assert ticket.result is not None
        return ticket.result

    def _opened(self, voice: Voice, opening: Future[T]) -> Generator[Progress, None, T]:
        """Waits for what may take some seconds to open when it is first asked for."""
        while not wait([opening], self.control.remaining(HEARTBEAT_SECONDS)).done:
            self.control.check()
            yield from self._due_progress(voice, last=False)
        return opening.result()

    def _until_heartbeat(self) -> float:
        return max(self._progress_at + HEARTBEAT_SECONDS - time.monotonic(), 0)

    def _due_progress(self, voice: Voice, last: bool) -> Generator[Progress, None, None]:
        now = time.monotonic()
        if last or now - self._progress_at >= self.pace.progress_seconds:
            self._progress_at = now
            self.tally.expected = max(self.tally.expected, self.tally.done)
            yield Progress(voice.map_id, self.method, self.tally.done, self.tally.expected)

    def _due_previews(
        self, voices: Sequence[Voice], probes: Sequence[RowProbe], logits: NDArray[np.float32]
    ) -> Generator[PartialMap, None, None]:
        now = time.monotonic()
        if self.wants_partial_maps and now - self._partial_at >= self.pace.partial_seconds:
            self._partial_at = now
            for voice, probe in zip(voices, probes, strict=True):
                if probe.preview:
                    yield _partial_map(voice, probe.preview(logits))


def _partial_map(voice: Voice, partial: Partial) -> PartialMap:
    return PartialMap(voice.map_id, partial.map, partial.tap, partial.fraction)
