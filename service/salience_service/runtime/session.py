"""An ONNX graph on the provider it really got."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from salience_service.bundle.graph_bytes import GraphBytes, graph_bytes
from salience_service.errors import BundleRefused, Cancelled, ComputeFailed
from salience_service.host_threads import start_on_first_core
from salience_service.runtime import tf32
from salience_service.runtime.built_shapes import fitting
from salience_service.runtime.device import Device, Lane
from salience_service.runtime.engines import Engines
from salience_service.runtime.freed_pages import return_freed_pages
from salience_service.runtime.graph_shape import GraphShape, batches
from salience_service.runtime.providers import (
    builds_engines,
    check_available,
    check_came_up,
    provider_chain,
    refused_by,
    warn_of_the_cpu,
)
from salience_service.runtime.session_libraries import load_libraries
from salience_service.runtime.session_options import session_options, threads_of_a_run
from salience_service.runtime.turns import Turn, turns

__all__ = [
    "Device", "Execution", "Feed", "GraphShape", "Kept", "Lane", "Session", "lacked_resources",
]  # fmt: skip

_FIRST_LANE = Lane()
_OF_THE_GRAPH = (
    faults.InvalidGraph,
    faults.InvalidProtobuf,
    faults.NoSuchFile,
    faults.NotImplemented,
)
"""What is amiss with a graph, whatever is to run it."""
_OUT_OF_MEMORY = ("std::bad_alloc", "Failed to allocate memory")
"""How ONNX Runtime's own errors say so."""


class Execution:
    """One execution of a graph: its lane, its turn and the word to end it; safe from any thread."""

    def __init__(self, lane: Lane = _FIRST_LANE) -> None:
        self.lane = lane
        self.turn = Turn()
        self.options = ort.RunOptions()

    def end(self) -> None:
        """Ends it at its next operator."""
        self.options.terminate = True

    @property
    def ended(self) -> bool:
        """Whether it was told to end."""
        return bool(self.options.terminate)


@dataclass(frozen=True)
class Kept:
    """An array that lies on a device, for as long as this is held."""

    value: ort.OrtValue
    shape: tuple[int, ...]


Feed = NDArray[np.generic] | Kept
"""What a graph may be given for an input."""


class Session:
    """One ONNX graph, ready to run on every device of a kind.

    Args:
        path: the graph's file; its external weights lie beside it.
        device: where to run it.
        weights: bytes of files beside it by name. What is not given is mapped into memory
            as it lies on disk, and a change there while the session lives is a crash or,
            worse, another model.
        sizes: dimensions that are always the same here, by the graph's names for them: a
            runtime that knows a shape keeps its own layout through more of the graph.
        shapes: all shapes at which it will run; it runs no others. A provider that builds
            engines builds one for each, the others get a session for each number of rows.

    Raises:
        BundleRefused: ONNX Runtime cannot load the graph.
        ComputeFailed: the provider asked for did not come up, or cannot load the graph, or
            memory or threads were lacking; the CPU never steps in silently.
        ConfigRefused: the environment forbids the device's precision, or a device has it not.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        weights: Mapping[str, bytes] = MappingProxyType({}),
        sizes: Mapping[str, int] = MappingProxyType({}),
        shapes: Sequence[GraphShape] = (),
    ) -> None:
        check_available(device, ort.get_available_providers())
        tf32.WORD.say(device)
        tf32.check_tf32(device)
        load_libraries(device)
        graph = _suited(graph_bytes(path, weights), device)
        fixed = _fixed(shapes, device) or [GraphShape(sizes)]
        engines = Engines(device, graph) if builds_engines(device) else None
        self._at = [
            [_opened(graph, shape, device, number, engines) for shape in fixed]
            for number in device.numbers
        ]
        if device.provider != "cpu":
            warn_of_the_cpu(device, graph.name, self._at[0][0].get_provider_graph_assignment_info())
        self._turns = turns(device, [session for at in self._at for session in at])
        self.provider: str = self._at[0][0].get_providers()[0]
        self.keeps_sources = device.keeps_sources
        self._device = device
        self._shared_with_bound_threads = device.provider == "cpu" and not threads_of_a_run(device)

    def keep(self, array: NDArray[np.generic], lane: Lane) -> Kept:
        """Puts an array on a lane's device, for runs there."""
        kind = "cpu" if self._device.provider == "cpu" else "cuda"
        number = self._device.numbers[lane.place] if kind == "cuda" else 0
        whole = np.ascontiguousarray(array)
        return Kept(ort.OrtValue.ortvalue_from_numpy(whole, kind, number), whole.shape)

    def run(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], execution: Execution
    ) -> list[NDArray[np.float32]]:
        """Runs the graph and fetches the named outputs.

        Args:
            feeds: the graph's inputs by name, with the shapes that its role states.
            outputs: which outputs to fetch; their order is the answer's.
            execution: where it runs, and the word to end it early.

        Raises:
            Cancelled: `execution` ended the run.
            ComputeFailed: the runtime failed.
        """
        session = fitting(self._at[execution.lane.place], feeds)
        try:
            with self._turns(session, execution.turn):
                if self._shared_with_bound_threads:
                    start_on_first_core()
                results = _run(session, feeds, list(outputs), execution)
        except Exception as error:
            if execution.ended:
                raise Cancelled("the run was ended early") from error
            raise ComputeFailed("the model failed on the device") from error
        return results


def lacked_resources(error: BaseException | None) -> bool:
    """Whether the machine had no memory or no thread left: that passes, the graph may be well.

    A damaged graph raises neither kind: ONNX Runtime's own errors derive from Exception alone.
    """
    own = isinstance(error, (MemoryError, RuntimeError))
    return own or any(words in str(error) for words in _OUT_OF_MEMORY)


def _run(
    session: ort.InferenceSession,
    feeds: Mapping[str, Feed],
    outputs: list[str],
    execution: Execution,
) -> list[NDArray[np.float32]]:
    """One run; where a feed lies on the device, the others join it as they are."""
    if not any(isinstance(feed, Kept) for feed in feeds.values()):
        found: list[NDArray[np.float32]] = session.run(outputs, dict(feeds), execution.options)
        return found
    values = {
        name: feed.value if isinstance(feed, Kept) else ort.OrtValue.ortvalue_from_numpy(feed)
        for name, feed in feeds.items()
    }
    return [
        each.numpy() for each in session.run_with_ort_values(outputs, values, execution.options)
    ]


def _fixed(shapes: Sequence[GraphShape], device: Device) -> Sequence[GraphShape]:
    """The shapes that sessions are built for; none: one session runs any."""
    if builds_engines(device):
        return shapes
    return [] if device.any_batch else batches(shapes)


def _suited(graph: GraphBytes, device: Device) -> GraphBytes:
    """The graph as the device wants it: TensorRT reads weights where they are inside."""
    if device.precision == "float16":
        return graph.half()
    return graph.whole() if builds_engines(device) else graph


def _opened(
    graph: GraphBytes, shape: GraphShape, device: Device, number: int, engines: Engines | None
) -> ort.InferenceSession:
    """The graph on one device, at one shape.

    Raises:
        BundleRefused: ONNX Runtime cannot load it.
        ComputeFailed: the provider asked for did not come up, or cannot load it, or memory or
            threads were lacking.
    """
    if engines is None:
        chain = provider_chain(device, number)
    else:
        chain = engines.provider_chain(number, shape, ort.__version__)
    options = session_options(device, graph, shape.sizes)
    try:
        # Its own way with a provider that fails, now or in a run, is to say so on stdout and go on
        # with the CPU.
        session = ort.InferenceSession(graph.model, options, providers=chain, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        of_the_graph = device.provider == "cpu" or isinstance(error, _OF_THE_GRAPH)
        if not of_the_graph or lacked_resources(error):
            raise refused_by(device, graph.name) from error
        raise BundleRefused(f"ONNX Runtime refused {graph.name}") from error
    check_came_up(device, session.get_providers())
    return_freed_pages()
    return session
