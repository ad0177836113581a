"""The sides that can take a model's gradients, each opened once, the first time it is needed."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle
from salience_service.bundle.rectifiers import has_rectifier
from salience_service.errors import NotPossible
from salience_service.events import GradientSide
from salience_service.gradients.differentiator import Differentiator
from salience_service.gradients.onnx_gradient import OnnxGradient
from salience_service.gradients.torch_fallback import TorchGradient, torch_is_installed
from salience_service.openings import Openings
from salience_service.request import GradientChoice
from salience_service.runtime.session import Device, Session

_GRAPHS = (GraphRole.GRADIENT, GraphRole.MASKED_GRADIENT)
_OPENER = ThreadPoolExecutor(1, thread_name_prefix="salience-gradients")
"""Opens sides one by one, while those who wait can still be told and cancelled."""


class GradientSides:
    """Knows which sides a bundle has, and owns those that are open. Safe from any thread.

    The warm-up opens the gradient graphs, since it holds them against the golden example,
    so that no request pays for that. They cost memory: with EfficientNet-Lite0 a server
    holds 466 MB after a Score-CAM with them, where it held 302 MB without. torch's program is
    opened for the first who asks, or at the start where the configuration says so.

    Args:
        bundle: opened and verified.
        device: where its graphs run; see `Device.for_gradients`. Its threads for one image are
            torch's too, which runs on the CPU, in float32.
    """

    def __init__(self, bundle: Bundle, device: Device) -> None:
        self._bundle = bundle
        self._device = device
        self._open: Openings[GradientSide, Differentiator] = Openings(_OPENER, self._opened)

    @property
    def available(self) -> tuple[GradientSide, ...]:
        """The sides there are; the first one answers where a request leaves the choice."""
        reasons = {side: self._missing(side) for side in (GradientSide.ONNX, GradientSide.TORCH)}
        return tuple(side for side, reason in reasons.items() if not reason)

    def chosen(self, choice: GradientChoice) -> GradientSide:
        """The side that answers.

        Raises:
            NotPossible: it is not there, with the remedy.
        """
        if choice is GradientChoice.AUTO:
            available = self.available
            if not available:
                raise NotPossible(self._none())
            return available[0]
        side = _SIDES[choice]
        if reason := self._missing(side):
            raise NotPossible(reason)
        return side

    def guided(self, choice: GradientChoice) -> GradientSide:
        """The side that answers where gradients are guided: torch's, which alone can.

        Raises:
            NotPossible: another was asked for, torch's is not there, or the network has no ReLU.
        """
        if choice is GradientChoice.ONNX:
            raise NotPossible(
                "the onnx side cannot guide gradients: ask for gradient_side torch, or for none"
            )
        side = self.chosen(GradientChoice.TORCH)
        if not self._has_rectifier:
            raise NotPossible(
                f"model {self._bundle.manifest.name} has no ReLU at which to guide gradients: "
                "use gradient"
            )
        return side

    def open(self, side: GradientSide) -> Future[Differentiator]:
        """A side's differentiator; torch takes some seconds to load when first asked for.

        One that failed to open is tried anew by the next who asks.

        Raises:
            NotPossible: the side is not there, with the remedy.
        """
        if reason := self._missing(side):
            raise NotPossible(reason)
        return self._open.of(side)

    def close(self) -> None:
        """Lets go of the sides that are open; nobody may ask for one any more."""
        self._open.close()

    @cached_property
    def _has_rectifier(self) -> bool:
        return has_rectifier(self._bundle.path(self._bundle.manifest.torch_program))

    def _missing(self, side: GradientSide) -> str:
        """Why a side is not there, and the remedy; empty where it is."""
        manifest = self._bundle.manifest
        if side is GradientSide.ONNX:
            if all(manifest.graph(role) for role in _GRAPHS):
                return ""
            return (
                f"model {manifest.name} has no gradient graphs: export it again, and read in "
                "the export report which operator has no gradient"
            )
        if not manifest.torch_program:
            return (
                f"model {manifest.name} was exported without a torch program: "
                "export it from a torch module"
            )
        if not torch_is_installed():
            return "this server has no torch for gradients: install salience[torch]"
        return ""

    def _none(self) -> str:
        """Why nobody can take gradients here, and the remedies."""
        torch, onnx = self._missing(GradientSide.TORCH), self._missing(GradientSide.ONNX)
        return f"{onnx}; or: {torch}"

    def _opened(self, side: GradientSide) -> Differentiator:
        return self._onnx() if side is GradientSide.ONNX else self._torch()

    def _onnx(self) -> OnnxGradient:
        return OnnxGradient(*(self._session(role) for role in _GRAPHS))

    def _torch(self) -> TorchGradient:
        program = self._bundle.manifest.torch_program
        self._bundle.check(program)
        return TorchGradient(self._bundle.path(program), self._device.image_threads)

    def _session(self, role: GraphRole) -> Session:
        graph = self._bundle.manifest.graph(role)
        assert graph is not None
        self._bundle.check(graph.path)
        path, weights = self._bundle.path(graph.path), self._bundle.weights()
        return Session(path, self._device.for_gradients(), weights, ONE_IMAGE)


ONE_IMAGE = {"N": 1, "R": 1, "S": 1}
"""Rows and images of a call; known sizes save a tenth of the time (EfficientNet-Lite0, CPU)."""
_SIDES = {GradientChoice.ONNX: GradientSide.ONNX, GradientChoice.TORCH: GradientSide.TORCH}
