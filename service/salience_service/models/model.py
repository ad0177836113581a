"""A served model: a bundle with its graphs on the device, warmed and checked before it serves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Graph, GraphRole, OutputKind, Tap
from salience_service.bundle.reader import Bundle
from salience_service.bundle.tensors import IMAGES, LOGITS, MASKS
from salience_service.errors import BundleRefused, NotPossible, SalienceError
from salience_service.events import GradientSide, GraphUse
from salience_service.gradients.sides import GradientSides
from salience_service.gradients.tail_gradients import TailGradients
from salience_service.maps.layout import folded
from salience_service.methods import METHODS, Method, taps_for
from salience_service.models.fixed_shapes import FixedShapes
from salience_service.models.tails import Tails
from salience_service.models.tuning import UNTUNED, Tuning
from salience_service.request import GradientChoice, ScoreKind
from salience_service.row_graphs.masked import MaskedGraph
from salience_service.row_graphs.plain import PlainGraph
from salience_service.row_graphs.sources import TappedImage
from salience_service.runtime.session import Device, Execution, Session
from salience_service.scores.faithfulness import MASKED

TAIL_BATCHES = 8
"""Rows of a tail's call over those of a masked graph's: a row is small where the network ends."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Forward:
    """The clean run of one image.

    Attributes:
        image: float32 [C, H, W], what was run.
        logits: float32 [K].
        features: by tap, float32 [k, h, w].
        outputs: what was fetched besides the logits, as the graph puts it out, by its names.
    """

    image: FloatArray
    logits: FloatArray
    features: dict[str, FloatArray]
    outputs: dict[str, FloatArray]


@dataclass(frozen=True)
class MethodListing:
    """A method as this model offers it."""

    method: Method[Any]
    default_taps: tuple[str, ...]
    available: bool
    unavailable_reason: str = ""


class ServedModel:
    """One version of one model.

    Graph runs (`forward`, `masked`) belong to the lanes; everything else is
    safe from any thread.

    Args:
        bundle: opened and verified.
        device: where its graphs run.
        batch_size: rows per call of the masked graph, ≥ 1, where the tuning names no other.
        tuning: what was measured to be best; its threads go before the device's.
    """

    def __init__(
        self, bundle: Bundle, device: Device, batch_size: int, tuning: Tuning = UNTUNED
    ) -> None:
        device = replace(device, threads=tuning.threads or device.threads)
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.name, self.version = bundle.manifest.name, bundle.manifest.version
        self.digest, self.signed_by = bundle.digest, bundle.signed_by
        self.batch_size = batch_size
        self.tuning_digest = tuning.digest
        self.device = device
        self.precision: str = device.precision
        self.gradients = GradientSides(bundle, device)
        self.tail_gradients = TailGradients(bundle, device, self._tapped, self.gradients)
        weights, shapes = bundle.weights(), FixedShapes(self.manifest, batch_size, tuning)
        forward = self._path(GraphRole.FORWARD)
        self._forward = Session(forward, device.for_images(), weights, shapes=shapes.forward())
        path = self._path(GraphRole.MASKED)
        masked = Session(path, device, weights, shapes=shapes.masked())
        self.masked = MaskedGraph(masked, self.manifest.input, batch_size, tuning.masked)
        self.pixel_masked: PlainGraph | None = None
        if self.manifest.graph(GraphRole.PIXEL_MASKED):
            path = self._path(GraphRole.PIXEL_MASKED)
            pixel_masked = Session(path, device, weights, shapes=shapes.pixel_masked())
            self.pixel_masked = PlainGraph(pixel_masked, tuning.pixel_masked or batch_size, MASKS)
        self.tails = Tails(bundle, device, TAIL_BATCHES * batch_size, self._tapped, tuning.tails)
        self.provider = self._forward.provider
        self.warm_up_seconds = 0.0  # Written by the warm-up, before anybody asks.
        self.drift = 0.0  # Likewise: from the golden example, relative.

    @property
    def drift_limit(self) -> float:
        """The largest drift from the golden example at which it serves, at its precision."""
        return self.manifest.tolerance(self.precision)

    def close(self) -> None:
        """Lets go of what it opened on the way, so that all of it is freed with its last user.

        What is running runs on.
        """
        self.tails.close()
        self.tail_gradients.close()
        self.gradients.close()

    def forward(
        self, image: FloatArray, taps: Sequence[Tap], execution: Execution, live: Sequence[str] = ()
    ) -> Forward:
        """Runs one prepared image [C, H, W], alone, and fetches taps, and outputs for tails."""
        names = list(dict.fromkeys([*(tap.output for tap in taps), *live]))
        logits, *found = self._forward.run({IMAGES: image[None]}, [LOGITS, *names], execution)
        outputs = {name: each[0] for name, each in zip(names, found, strict=True)}
        features = {tap.name: folded(outputs[tap.output], tap) for tap in taps}
        return Forward(image, logits[0], features, outputs)

    def tapped(self, clean: Forward, tap: Tap) -> TappedImage:
        """The image of a clean run that fetched the tap and what graphs from there take."""
        live = {name: clean.outputs[name] for name in self.manifest.live(tap)}
        return TappedImage(clean.outputs[tap.output], live)

    def graph_use(
        self, role: GraphRole, shape: tuple[int, int] = (0, 0), tap: str = ""
    ) -> GraphUse:
        """A graph as it runs here, for the provenance.

        Args:
            role: which.
            shape: that of its maps.
            tap: where it begins, if it begins at one.
        """
        digest = self.bundle.digest_of(self._graph(role, tap))
        return GraphUse(role, digest, self._batch_size(role, shape, tap), *shape, tap)

    @property
    def gradient_sides(self) -> tuple[GradientSide, ...]:
        """Which sides can compute gradients here; the first does where none is asked for."""
        return self.gradients.available

    def methods(self) -> tuple[MethodListing, ...]:
        """Every method of this server, with whether this model can answer it."""
        return tuple(self._listing(method) for method in METHODS.values())

    def scores(self) -> tuple[ScoreKind, ...]:
        """The scores that maps of this model can be given."""
        if self.manifest.head.kind is OutputKind.REGRESSION:
            return ()
        return tuple(ScoreKind) if self.pixel_masked else MASKED

    def side_for(
        self, method: Method[Any], taps: Sequence[Tap], choice: GradientChoice
    ) -> GradientSide:
        """Who takes the gradients of a method on these taps; NONE where it takes none.

        Raises:
            NotPossible: the model lacks what the method needs, with the remedy.
        """
        for role in method.graphs:
            ends = [tap.name for tap in taps] if role is GraphRole.TAIL else [""]
            if not all(self.manifest.graph(role, end) for end in ends):
                raise NotPossible(
                    f"{method.name} needs the {role.value} graph, which model {self.name} was "
                    "exported without: export it again"
                )
        for tap in taps if method.linear_head else ():
            if not tap.linear_head:
                raise NotPossible(
                    f"{method.name} needs a tap that global average pooling and one linear layer "
                    f"bring to the logits, which {tap.name} is not: use grad-cam"
                )
        if method.guided:
            return self.gradients.guided(choice)
        return self.gradients.chosen(choice) if method.needs_gradient else GradientSide.NONE

    def _listing(self, method: Method[Any]) -> MethodListing:
        try:
            taps = taps_for(method, self.manifest, ())
            self.side_for(method, taps, GradientChoice.AUTO)
        except SalienceError as reason:
            return MethodListing(method, (), False, str(reason))
        return MethodListing(method, tuple(tap.name for tap in taps), True)

    def _batch_size(self, role: GraphRole, shape: tuple[int, int], tap: str) -> int:
        """Rows of a call, as the graph itself has it."""
        if role is GraphRole.MASKED:
            return self.masked.batch_size(shape)
        if role is GraphRole.PIXEL_MASKED and self.pixel_masked:
            return self.pixel_masked.batch_size(shape)
        if role is GraphRole.TAIL:
            return self.tails.batch_size(tap)
        return 1  # One image a call.

    def _tapped(self, image: FloatArray, tap: Tap) -> TappedImage:
        """Runs as a graph from a tap is opened, beside the lanes: sessions bear that."""
        return self.tapped(self.forward(image, [tap], Execution(), self.manifest.live(tap)), tap)

    def _graph(self, role: GraphRole, tap: str = "") -> Graph:
        graph = self.manifest.graph(role, tap)
        if graph is None:
            raise BundleRefused(f"the bundle has no {role.value} graph")
        return graph

    def _path(self, role: GraphRole) -> Path:
        return self.bundle.path(self._graph(role).path)
