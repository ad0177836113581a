"""A served model: a bundle with its graphs on the device, warmed and checked before it serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salience_service.bundle.manifest import Graph, GraphRole, OutputKind, Tap
from salience_service.bundle.reader import Bundle
from salience_service.errors import BundleRefused, SalienceError
from salience_service.events import GradientSide, GraphUse
from salience_service.gradient_sides import GradientSides
from salience_service.masked_graph import MaskedGraph
from salience_service.methods import METHODS, Method, taps_for
from salience_service.request import GradientChoice, ScoreKind
from salience_service.session import Device, Session, Stop

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Forward:
    """The clean run of one image: logits float32 [K], features float32 [k, h, w] by tap."""

    logits: FloatArray
    features: dict[str, FloatArray]


@dataclass(frozen=True)
class MethodListing:
    """A method as this model offers it."""

    method: Method[Any]
    default_taps: tuple[str, ...]
    available: bool
    unavailable_reason: str = ""


class ServedModel:
    """One version of one model.

    Graph runs (`forward`, `masked`) belong to the device thread; everything else is
    safe from any thread.

    Args:
        bundle: opened and verified.
        device: where its graphs run.
        batch_size: rows per call of the masked graph, ≥ 1.
    """

    def __init__(self, bundle: Bundle, device: Device, batch_size: int) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.name, self.version = bundle.manifest.name, bundle.manifest.version
        self.digest = bundle.digest
        self.batch_size = batch_size
        self.gradients = GradientSides(bundle, device)
        weights = bundle.weights()
        self._forward = Session(self._path(GraphRole.FORWARD), device, weights)
        masked = Session(self._path(GraphRole.MASKED), device, weights)
        self.masked = MaskedGraph(masked, self.manifest.input, batch_size)
        self.provider = self._forward.provider

    def forward(self, image: FloatArray, taps: Sequence[Tap], stop: Stop) -> Forward:
        """Runs one prepared image [C, H, W], alone, and fetches the named taps."""
        outputs = ["logits", *(tap.output for tap in taps)]
        logits, *features = self._forward.run({"images": image[None]}, outputs, stop)
        return Forward(
            logits[0], {tap.name: each[0] for tap, each in zip(taps, features, strict=True)}
        )

    def graph_use(self, role: GraphRole, shape: tuple[int, int] = (0, 0)) -> GraphUse:
        """A graph as it runs here, for the provenance; `shape` is that of its maps."""
        batch = self.batch_size if role is GraphRole.MASKED else 1
        return GraphUse(role, self.bundle.digest_of(self._graph(role)), batch, *shape)

    @property
    def gradient_sides(self) -> tuple[GradientSide, ...]:
        """Which sides can compute gradients here; the first does where none is asked for."""
        return self.gradients.available

    def methods(self) -> tuple[MethodListing, ...]:
        """Every method of this server, with whether this model can answer it."""
        return tuple(self._listing(method) for method in METHODS.values())

    def scores(self) -> tuple[ScoreKind, ...]:
        """The scores that maps of this model can be given."""
        return () if self.manifest.head.kind is OutputKind.REGRESSION else tuple(ScoreKind)

    def _listing(self, method: Method[Any]) -> MethodListing:
        try:
            taps = tuple(tap.name for tap in taps_for(method, self.manifest, ()))
            if method.needs_gradient:
                self.gradients.chosen(GradientChoice.AUTO)
        except SalienceError as reason:
            return MethodListing(method, (), False, str(reason))
        return MethodListing(method, taps, True)

    def _graph(self, role: GraphRole) -> Graph:
        graph = self.manifest.graph(role)
        if graph is None:
            raise BundleRefused(f"the bundle has no {role.value} graph")
        return graph

    def _path(self, role: GraphRole) -> Path:
        return self.bundle.path(self._graph(role).path)
