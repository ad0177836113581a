"""Bare ONNX Runtime on the network's own graphs, with no explainer around it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from bench.networks import Network
from salience_service.bundle.manifest import GraphRole
from salience_service.bundle.reader import Bundle, open_bundle
from salience_service.host_threads import usable_cores
from salience_service.image.pixels import ImageLimits
from salience_service.image.prepare import prepare
from salience_service.interpolation import unit_range, upsample
from salience_service.request import EncodedImage
from salience_service.runtime import tf32
from salience_service.runtime.providers import check_came_up, provider_chain
from salience_service.runtime.session import Device, Execution, Session
from salience_service.runtime.session_libraries import load_libraries

FULL_BATCHES_OF = 128
"""Every batch size of a sweep divides it, so that a run of as many rows holds full batches."""
_RING_ROWS = 64
"""Masked images made beforehand: 39 MB of 224×224, so that they come from memory."""


class BareForward:
    """Runs masked images through the forward graph, whose taps are no outputs here.

    ONNX Runtime's own options, the batch size known to the graph.

    Args:
        graph: forward.onnx of a bundle.
        rows: float32 [n, C, H, W], n a multiple of the batch size: images, run over and over.
        batch: images a call.
        provider: as in the server's configuration.
        threads: of a call; 0 = ONNX Runtime's own choice.
    """

    def __init__(
        self, graph: Path, rows: np.ndarray, batch: int, provider: str = "cpu", threads: int = 0
    ) -> None:
        self._session = cut_session(graph, ["logits"], batch, threads, provider)
        self._batches = np.split(rows, len(rows) // batch)
        self._size = batch

    def run(self, rows: int) -> None:
        """Runs that many rows, a multiple of the batch size."""
        for number in range(rows // self._size):
            self._call(number)

    def run_side_by_side(self, rows: int, calls: int) -> None:
        """Likewise, so many calls at a time, each taking the next batch when it is done."""
        with ThreadPoolExecutor(calls) as threads:
            list(threads.map(self._call, range(rows // self._size)))

    def _call(self, number: int) -> None:
        images = self._batches[number % len(self._batches)]
        self._session.run(["logits"], {"images": images})


def bare_forward(
    models: Path, network: Network, picture: bytes, batch: int, rows: int, provider: str = "cpu"
) -> Callable[[], object]:
    """Runs that many rows at each call: a photograph masked with maps of its own."""
    bundle = open_bundle(models / network.name / "1")
    images = _masked(bundle, network, _prepared(bundle, picture), max(_RING_ROWS, 2 * batch))
    forward = BareForward(bundle.path("forward.onnx"), images, batch, provider)
    return lambda: forward.run(rows)


def bare_side_by_side(
    models: Path, network: Network, picture: bytes, batch: int, rows: int
) -> Callable[[], object]:
    """The same on the CPU, a call of one thread on each core at a time."""
    bundle = open_bundle(models / network.name / "1")
    images = _masked(bundle, network, _prepared(bundle, picture), max(_RING_ROWS, 2 * batch))
    forward = BareForward(bundle.path("forward.onnx"), images, batch, threads=1)
    return lambda: forward.run_side_by_side(rows, usable_cores())


def bare_explanations(
    models: Path, network: Network, picture: bytes, batch: int, count: int, calls: int = 1
) -> Callable[[], object]:
    """What the device does for that many Grad-CAMs with AD, AI and AG, and nothing besides.

    Each a forward of one image with its last tap, a gradient to that tap from there on, and a
    masked row; the rows in full batches.

    Args:
        models: the models directory of the network.
        network: which.
        picture: a photograph's file.
        batch: masked rows a call.
        count: of explanations, a multiple of the batch size.
        calls: how many run at a time; one has all cores, several have a thread each.
    """
    bundle = open_bundle(models / network.name / "1")
    image = _prepared(bundle, picture)
    tap = bundle.manifest.taps[-1]
    cotangent = np.zeros((1, bundle.manifest.head.classes), np.float32)
    cotangent[0, 0] = 1
    threads = 0 if calls == 1 else 1
    forward = _graph_run(bundle, GraphRole.FORWARD, ["logits", tap.output], threads)
    gradient = _graph_run(bundle, GraphRole.TAIL_GRADIENT, ["logits", "d_tap"], threads, tap.name)
    rows = _masked(bundle, network, image, _RING_ROWS)
    masked = BareForward(bundle.path("forward.onnx"), rows, batch, threads=threads)

    def one(_: int) -> None:
        features = forward({"images": image[None]})[1]
        gradient({"tap": features, "cotangent": cotangent})

    def run() -> None:
        with ThreadPoolExecutor(calls) as pool:
            list(pool.map(one, range(count)))
        masked.run_side_by_side(count, calls)

    return run


def _graph_run(
    bundle: Bundle, role: GraphRole, outputs: list[str], threads: int, tap: str = ""
) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Runs a graph of one image with no other outputs; options as `BareForward`."""
    graph = bundle.manifest.graph(role, tap)
    assert graph is not None
    session = cut_session(bundle.path(graph.path), outputs, 1, threads)
    return lambda feeds: session.run(outputs, feeds)


def cut_session(
    graph: Path, outputs: list[str], batch: int, threads: int = 0, provider: str = "cpu"
) -> ort.InferenceSession:
    """A graph cut to these outputs; ONNX Runtime's own options, the batch size known to it."""
    model = onnx.load(graph)
    for other in [each for each in model.graph.output if each.name not in outputs]:
        model.graph.output.remove(other)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_free_dimension_override_by_name("N", batch)
    # The service's own way with a provider: CUDA's and TensorRT's defaults are another precision.
    device = Device(provider)
    tf32.WORD.say(device)
    load_libraries(device)
    providers = provider_chain(device, 0)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=providers, enable_fallback=0
    )
    check_came_up(device, session.get_providers())
    return session


def _prepared(bundle: Bundle, picture: bytes) -> np.ndarray:
    return prepare(EncodedImage(picture), bundle.manifest.input, ImageLimits()).tensor


def _masked(bundle: Bundle, network: Network, image: np.ndarray, count: int) -> np.ndarray:
    """The image under its own maps of the tap of Score-CAM, float32 [count, C, H, W]."""
    tap = bundle.manifest.tap(network.score_tap)
    assert tap is not None
    forward = Session(bundle.path("forward.onnx"), Device(), bundle.weights())
    ((features,),) = forward.run({"images": image[None]}, [tap.output], Execution())
    masks = unit_range(upsample(features[np.arange(count) % len(features)], *image.shape[1:]))
    masked: np.ndarray = (masks[:, None] * image).astype(np.float32)
    return masked
