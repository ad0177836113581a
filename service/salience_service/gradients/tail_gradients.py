"""Gradients from a tap on: where the network has run up to a tap, it need not run there again."""

from concurrent.futures import Future, ThreadPoolExecutor

from salience_service.bundle.manifest import Graph, GraphRole, Tap
from salience_service.bundle.reader import Bundle, read_golden
from salience_service.bundle.tensors import COTANGENT, LOGITS, TAP, gradient_of
from salience_service.drift import norm_difference
from salience_service.errors import BundleRefused
from salience_service.events import GradientSide
from salience_service.gradients.differentiator import FloatArray
from salience_service.gradients.sides import ONE_IMAGE, GradientSides
from salience_service.openings import Openings
from salience_service.row_graphs.sources import TappedImage, TapRun, no_run
from salience_service.runtime.session import Device, Execution, Session

_OPENER = ThreadPoolExecutor(1, thread_name_prefix="salience-tail-gradients")
"""Opens them one by one, while those who wait can still be told and cancelled."""


class TailGradient:
    """The tail gradient graph of one tap; one image a call, at batch 1, unpadded."""

    alone: str | None = None
    """As a `Differentiator`'s."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def gradient(
        self, tapped: TappedImage, cotangent: FloatArray, execution: Execution
    ) -> tuple[FloatArray, FloatArray]:
        """The logits of an image, and the gradient of cotangent · logits to the tap.

        Args:
            tapped: the image as the network has it at the tap.
            cotangent: float32 [K].
            execution: where it runs, and the word to end it early.

        Returns:
            Logits float32 [K]; gradient float32, of the tap's own shape.

        Raises:
            ComputeFailed: the runtime failed.
            Cancelled: `execution` ended the call.
        """
        feeds = {name: each[None] for name, each in tapped.arrays().items()}
        feeds[COTANGENT] = cotangent[None]
        logits, gradient = self._session.run(feeds, [LOGITS, gradient_of(TAP)], execution)
        return logits[0], gradient[0]


class TailGradients:
    """Owns the tail gradient graphs that are open. Safe from any thread.

    The warm-up opens that of the last tap, which CAMs ask for; others are opened for the first
    who asks, since each holds weights of its own.

    Args:
        bundle: opened and verified.
        device: where the model runs; see `Device.for_gradients`.
        run: the forward graph, up to a tap.
        sides: their gradients are those that these are held against.
    """

    def __init__(self, bundle: Bundle, device: Device, run: TapRun, sides: GradientSides) -> None:
        self._bundle = bundle
        self._device = device
        self._run = run
        self._sides = sides
        self._open: Openings[Tap, TailGradient] = Openings(_OPENER, self._opened)

    def has(self, tap: Tap) -> bool:
        """Whether the gradient to a tap can be taken from there on.

        Only where the network itself runs in float32, as gradients do: at a lower precision
        they begin at the image.
        """
        return self._device.precision == "float32" and self._graph(tap) is not None

    def open(self, tap: Tap) -> Future[TailGradient]:
        """That of a tap; one that failed to open is tried anew by the next who asks."""
        return self._open.of(tap)

    def close(self) -> None:
        """Lets go of those that are open; nobody may ask for one any more."""
        self._open.close()
        self._run = no_run  # It holds the model, which holds this.

    def _graph(self, tap: Tap) -> Graph | None:
        return self._bundle.manifest.graph(GraphRole.TAIL_GRADIENT, tap.name)

    def _opened(self, tap: Tap) -> TailGradient:
        graph = self._graph(tap)
        assert graph is not None  # Nobody asks for what `has` denies.
        self._bundle.check(graph.path)
        path, device = self._bundle.path(graph.path), self._device.for_gradients()
        found = TailGradient(Session(path, device, self._bundle.weights(), ONE_IMAGE))
        self._check(found, tap)
        return found

    def _check(self, found: TailGradient, tap: Tap) -> None:
        """From the tap of the golden image, it must come to what the gradient graph comes to."""
        golden = read_golden(self._bundle)
        assert golden.gradient is not None
        image, cotangent = golden.image[0], golden.gradient.cotangent[0]
        whole = self._sides.open(GradientSide.ONNX).result()
        tapped = self._run(image, tap)
        drift = 0.0
        for lane in self._device.places():
            _, expected = whole.gradient(image, cotangent, [tap.output], Execution(lane))
            _, gradient = found.gradient(tapped, cotangent, Execution(lane))
            drift = max(drift, norm_difference(gradient, expected[tap.output]))
        if not drift <= golden.gradient.tolerance:
            raise BundleRefused(
                f"the tail gradient of tap {tap.name} drifts from the gradient graph: {drift:.2e} "
                f"relative, allowed {golden.gradient.tolerance:.2e}"
            )
