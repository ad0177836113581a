"""Drives one method: its probes go to the scheduler, its answers come back, events come out."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import GraphRole
from salience_service.control import Control
from salience_service.differentiator import Differentiator
from salience_service.events import GradientSide, PartialMap, Progress
from salience_service.gradient_call import GradientCalls, graph_of
from salience_service.masked_graph import MaskedImage
from salience_service.methods.probe import (
    Answer,
    Gradients,
    MapGradient,
    MethodRun,
    Outcome,
    Partial,
    Probe,
    RowAnswers,
    Rows,
)
from salience_service.model import ServedModel
from salience_service.scheduler import Scheduler
from salience_service.session import Stop
from salience_service.target import Target
from salience_service.ticket import Account, RowSpan, Ticket

T = TypeVar("T")
Preview = Callable[[NDArray[np.float32]], Partial]
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
    """Makes one map. Owns when it last spoke and which graphs ran for it.

    Attributes:
        gradient_side: which side takes gradients; NONE where the method takes none.
        image: what rows are masked from. target: what gradients are taken of.
        tally: shared by all maps of the explanation.
        graphs: roles of the graphs that ran, each with the shapes of its maps.
    """

    map_id: int
    method: str
    gradient_side: GradientSide
    model: ServedModel
    scheduler: Scheduler
    control: Control
    account: Account
    image: MaskedImage
    target: Target
    tally: Tally
    pace: Pace
    wants_partial_maps: bool
    graphs: dict[GraphRole, set[tuple[int, int]]] = field(default_factory=dict)
    _progress_at: float = 0.0
    _partial_at: float = 0.0

    def run(self, run: MethodRun) -> Generator[Progress | PartialMap, None, Outcome]:
        """Runs a method to its outcome, yielding events on the way."""
        answer: Answer = None
        with closing(run):
            while True:
                try:
                    probe = next(run) if answer is None else run.send(answer)
                except StopIteration as end:
                    outcome: Outcome = end.value
                    return outcome
                answer = yield from self._answer(probe)

    def score(
        self, rows: Rows, image: MaskedImage
    ) -> Generator[Progress | PartialMap, None, RowAnswers]:
        """Scores rows over an image, which may have another fill than the method's."""
        self._note(GraphRole.MASKED, (rows.maps.shape[1], rows.maps.shape[2]))
        span = RowSpan(image, rows.maps, rows.normalise, rows.scale, rows.shift)
        ticket = self.scheduler.rows(self.model.masked, span, self.control, self.account)
        for done in self._follow(ticket):
            yield from self._due_progress(done == ticket.size)
            if rows.preview and 0 < done < ticket.size:
                yield from self._due_preview(rows.preview, ticket.logits[:done])
        return RowAnswers(ticket.logits)

    def _answer(self, probe: Probe) -> Generator[Progress | PartialMap, None, Answer]:
        if isinstance(probe, Rows):
            return (yield from self.score(probe, self.image))
        if isinstance(probe, MapGradient):
            side = yield from self._differentiator(probe)
            return (yield from self._called(self._gradients.of_map(probe, side)))
        if isinstance(probe, Gradients):
            side = yield from self._differentiator(probe)
            return (yield from self._called(self._gradients.of_image(probe, side)))
        if self.wants_partial_maps:
            yield self._partial(probe)
        return None

    @property
    def _gradients(self) -> GradientCalls:
        return GradientCalls(self.model.manifest, self.image, self.target)

    def _called(self, call: Callable[[Stop], T]) -> Generator[Progress, None, T]:
        """One call that has the device to itself, told as a row."""
        ticket = self.scheduler.call(call, self.control, self.account)
        for _ in self._follow(ticket):
            yield from self._due_progress(self.tally.done == self.tally.expected)
        assert ticket.result is not None
        return ticket.result

    def _differentiator(
        self, probe: MapGradient | Gradients
    ) -> Generator[Progress, None, Differentiator]:
        """Waits for the side, which may take some seconds to open when it is first asked for."""
        if self.gradient_side is GradientSide.ONNX:
            self._note(*graph_of(probe))
        opening = self.model.gradients.open(self.gradient_side)
        while not wait([opening], self.control.remaining(HEARTBEAT_SECONDS)).done:
            self.control.check()
            yield from self._due_progress(last=False)
        return opening.result()

    def _note(self, role: GraphRole, shape: tuple[int, int]) -> None:
        """Keeps for the provenance that a graph ran on maps of this shape, (0, 0) for none."""
        self.graphs.setdefault(role, set()).add(shape)

    def _follow(self, ticket: Ticket) -> Generator[int, None, None]:
        """Yields the rows done each time some are, and at least every heartbeat."""
        done = 0
        while done < ticket.size:
            due = self._progress_at + HEARTBEAT_SECONDS - time.monotonic()
            now_done = ticket.wait(done, max(due, 0))
            self.tally.done += now_done - done
            done = now_done
            yield done

    def _due_progress(self, last: bool) -> Generator[Progress, None, None]:
        now = time.monotonic()
        if last or now - self._progress_at >= self.pace.progress_seconds:
            self._progress_at = now
            self.tally.expected = max(self.tally.expected, self.tally.done)
            yield Progress(self.map_id, self.method, self.tally.done, self.tally.expected)

    def _due_preview(
        self, preview: Preview, logits: NDArray[np.float32]
    ) -> Generator[PartialMap, None, None]:
        now = time.monotonic()
        if self.wants_partial_maps and now - self._partial_at >= self.pace.partial_seconds:
            self._partial_at = now
            yield self._partial(preview(logits))

    def _partial(self, partial: Partial) -> PartialMap:
        return PartialMap(self.map_id, partial.map, partial.tap, partial.fraction)
