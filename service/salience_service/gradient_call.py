"""A method's question for a gradient as one call to whoever takes gradients, and its answer."""

from collections.abc import Callable
from dataclasses import dataclass

from salience_service.bundle.manifest import GraphRole, Manifest
from salience_service.differentiator import IMAGES, Differentiator
from salience_service.masked_graph import MaskedImage
from salience_service.methods.probe import (
    GradientAnswer,
    Gradients,
    MapGradient,
    MapGradientAnswer,
)
from salience_service.session import Stop
from salience_service.target import Target


@dataclass(frozen=True)
class GradientCalls:
    """Puts the probes of one map, in names of taps and values of the target, as calls.

    Attributes:
        manifest: whose taps are named. image: what a map masks. target: what is differentiated.
    """

    manifest: Manifest
    image: MaskedImage
    target: Target

    def of_map(
        self, probe: MapGradient, side: Differentiator
    ) -> Callable[[Stop], MapGradientAnswer]:
        """The gradient to a map, to be called by the device thread."""
        cotangent = self.target.cotangent(self.manifest.head.classes)

        def call(stop: Stop) -> MapGradientAnswer:
            difference, fill = self.image.difference, self.image.fill
            logits, found = side.masked_gradient(difference, fill, probe.map, cotangent, stop)
            return MapGradientAnswer(float(self.target.value(logits)), found)

        return call

    def of_image(self, probe: Gradients, side: Differentiator) -> Callable[[Stop], GradientAnswer]:
        """The gradients to taps and image, to be called by the device thread."""
        cotangent = self.target.cotangent(self.manifest.head.classes)
        taps = {tap.name: tap.output for tap in self.manifest.taps if tap.name in probe.taps}
        tensors = [*taps.values(), IMAGES] if probe.of_image else [*taps.values()]

        def call(stop: Stop) -> GradientAnswer:
            logits, found = side.gradient(probe.image, cotangent, tensors, stop)
            to_taps = {name: found[output] for name, output in taps.items()}
            return GradientAnswer(float(self.target.value(logits)), found.get(IMAGES), to_taps)

        return call


def graph_of(probe: MapGradient | Gradients) -> tuple[GraphRole, tuple[int, int]]:
    """The gradient graph that answers a probe, and the shape of the map it is given."""
    if isinstance(probe, Gradients):
        return GraphRole.GRADIENT, (0, 0)
    height, width = probe.map.shape
    return GraphRole.MASKED_GRADIENT, (height, width)
