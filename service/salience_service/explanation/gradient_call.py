"""A method's question for a gradient as one call to whoever takes gradients, and its answer."""

from collections.abc import Callable
from dataclasses import dataclass

from salience_service.bundle.manifest import GraphRole, Manifest
from salience_service.gradients.differentiator import IMAGES, Differentiator
from salience_service.maps.layout import folded
from salience_service.methods.probe import (
    GradientAnswer,
    Gradients,
    MapGradient,
    MapGradientAnswer,
)
from salience_service.row_graphs.sources import MaskedImage
from salience_service.runtime.session import Execution
from salience_service.targets.target import Target


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
    ) -> Callable[[Execution], MapGradientAnswer]:
        """The gradient to a map, to be called by the device thread."""
        cotangent = self.target.cotangent(self.manifest.head.classes)

        def call(execution: Execution) -> MapGradientAnswer:
            difference, fill = self.image.difference, self.image.fill
            mask = probe.normalise, probe.scale, probe.shift
            logits, found = side.masked_gradient(
                difference, fill, probe.map, cotangent, execution, *mask
            )
            return MapGradientAnswer(float(self.target.value(logits)), found)

        return call

    def of_image(
        self, probe: Gradients, side: Differentiator
    ) -> Callable[[Execution], GradientAnswer]:
        """The gradients to taps and image, to be called by the device thread."""
        cotangent = self.target.cotangent(self.manifest.head.classes)
        taps = [tap for tap in self.manifest.taps if tap.name in probe.taps]
        tensors = [tap.output for tap in taps] + [IMAGES] * probe.of_image

        def call(execution: Execution) -> GradientAnswer:
            logits, found = side.gradient(probe.image, cotangent, tensors, execution, probe.guided)
            to_taps = {tap.name: folded(found[tap.output], tap) for tap in taps}
            return GradientAnswer(float(self.target.value(logits)), found.get(IMAGES), to_taps)

        return call


def graph_of(probe: MapGradient | Gradients) -> tuple[GraphRole, tuple[int, int]]:
    """The gradient graph that answers a probe, and the shape of the map it is given."""
    if isinstance(probe, Gradients):
        return GraphRole.GRADIENT, (0, 0)
    height, width = probe.map.shape
    return GraphRole.MASKED_GRADIENT, (height, width)
