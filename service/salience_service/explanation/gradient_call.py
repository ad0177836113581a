"""A method's question for gradients as one call to whoever answers it."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from salience_service.bundle.manifest import GraphRole, Tap
from salience_service.bundle.tensors import IMAGES
from salience_service.events import GradientSide
from salience_service.gradients.differentiator import Differentiator, FloatArray
from salience_service.gradients.tail_gradients import TailGradient
from salience_service.maps.layout import folded
from salience_service.methods.probe import (
    GradientAnswer,
    Gradients,
    MapGradient,
    MapGradientAnswer,
)
from salience_service.models.model import Forward, ServedModel
from salience_service.openings import opened
from salience_service.row_graphs.sources import MaskedImage, TappedImage
from salience_service.runtime.session import Execution
from salience_service.targets.target import Target

GradientAnswers = MapGradientAnswer | GradientAnswer


class Answering(Protocol):
    """Who takes gradients.

    Attributes:
        alone: what its calls share with none that runs; None where they run side by side.
    """

    alone: str | None


A = TypeVar("A", bound=Answering)


@dataclass(frozen=True)
class GradientCall(Generic[A]):
    """A question for gradients, ready to be put.

    Attributes:
        role: the graph's. tap: where it begins, if it begins at one.
        shape: of the map it is given; (0, 0) for none.
        opening: who answers; it may be opening still.
        call: has it answer, in a lane's thread.
    """

    role: GraphRole
    tap: str
    shape: tuple[int, int]
    opening: Future[A]
    call: Callable[[A, Execution], GradientAnswers]

    def put(self) -> tuple[Callable[[Execution], GradientAnswers], str | None]:
        """What a lane is to run, and what it shares with none, once who answers is open.

        Raises:
            SalienceError: it could not be opened.
        """
        side = opened(self.opening)
        return partial(self.call, side), side.alone


AnyGradientCall = GradientCall[Differentiator] | GradientCall[TailGradient]


@dataclass(frozen=True)
class GradientCalls:
    """Puts the probes of one map, in names of taps and values of the target, as calls.

    Attributes:
        model: whose gradients they are. side: who takes them.
        clean: the run whose taps gradients go on from. image: what a map masks.
        target: what is differentiated.
    """

    model: ServedModel
    side: GradientSide
    clean: Forward
    image: MaskedImage
    target: Target

    def of(self, probe: MapGradient | Gradients) -> AnyGradientCall:
        """The call of any question."""
        if isinstance(probe, MapGradient):
            return self._of_map(probe)
        if tap := self._one_tap(probe):
            return self._from_tap(probe, tap)
        return self._of_image(probe)

    def _of_map(self, probe: MapGradient) -> GradientCall[Differentiator]:
        """The gradient to a map."""

        def call(side: Differentiator, execution: Execution) -> MapGradientAnswer:
            difference, fill = self.image.difference, self.image.fill
            mask = probe.normalise, probe.scale, probe.shift
            logits, found = side.masked_gradient(
                difference, fill, probe.map, self._cotangent, execution, *mask
            )
            return MapGradientAnswer(float(self.target.value(logits)), found)

        height, width = probe.map.shape
        opening = self.model.gradients.open(self.side)
        return GradientCall(GraphRole.MASKED_GRADIENT, "", (height, width), opening, call)

    def _of_image(self, probe: Gradients) -> GradientCall[Differentiator]:
        """The gradients to taps and image, from the image on."""
        taps = [tap for tap in self.model.manifest.taps if tap.name in probe.taps]
        tensors = [tap.output for tap in taps] + [IMAGES] * probe.of_image

        def call(side: Differentiator, execution: Execution) -> GradientAnswer:
            logits, found = side.gradient(
                probe.image, self._cotangent, tensors, execution, probe.guided
            )
            to_taps = {tap.name: folded(found[tap.output], tap) for tap in taps}
            return GradientAnswer(float(self.target.value(logits)), found.get(IMAGES), to_taps)

        opening = self.model.gradients.open(self.side)
        return GradientCall(GraphRole.GRADIENT, "", (0, 0), opening, call)

    def _from_tap(self, probe: Gradients, tap: Tap) -> GradientCall[TailGradient]:
        """The gradient to one tap, from there on; the clean image has been run up to there."""

        def call(tail: TailGradient, execution: Execution) -> GradientAnswer:
            tapped = self._tapped(probe, tap, execution)
            logits, found = tail.gradient(tapped, self._cotangent, execution)
            value = float(self.target.value(logits))
            return GradientAnswer(value, None, {tap.name: folded(found, tap)})

        opening = self.model.tail_gradients.open(tap)
        return GradientCall(GraphRole.TAIL_GRADIENT, tap.name, (0, 0), opening, call)

    def _one_tap(self, probe: Gradients) -> Tap | None:
        """The tap from which a question can be answered; None where none is enough."""
        if self.side is not GradientSide.ONNX or probe.of_image or len(probe.taps) != 1:
            return None
        tap = self.model.manifest.tap(probe.taps[0])
        return tap if tap and self.model.tail_gradients.has(tap) else None

    def _tapped(self, probe: Gradients, tap: Tap, execution: Execution) -> TappedImage:
        run = self.clean
        if probe.image is not run.image:
            run = self.model.forward(probe.image, [tap], execution, self.model.manifest.live(tap))
        return self.model.tapped(run, tap)

    @property
    def _cotangent(self) -> FloatArray:
        return self.target.cotangent(self.model.manifest.head.classes)
